"""What MkDocs does not do by itself: pages that lie outside docs/, and links that lead out of it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "index.md": "README.md",
    "configuration.md": "config/README.md",
    "commands.md": "build/commands.md",
    "changelog.md": "CHANGELOG.md",
    "pretrained.md": "pretrained/README.md",
}
"""Page → the file that it is."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Add the pages from outside."""
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links between files of the repository become links between pages; what is no page keeps its words alone."""
    source = OUTSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {place: name for name, place in OUTSIDE.items()} | {f"docs/{name}": name for name in files.src_uris if name not in OUTSIDE}

    def there(link: re.Match[str]) -> str:
        picture, words, target, place = link[1], link[2], link[3], link[4] or ""
        found = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if found in pages:
            return f"{picture}[{words}]({posixpath.relpath(pages[found], posixpath.dirname(page.file.src_uri) or '.')}{place})"
        return words

    return LINK.sub(there, markdown)


def on_page_content(html, page, config, files):
    """The corner of a table heads nothing: a cell, not an empty heading."""
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)
