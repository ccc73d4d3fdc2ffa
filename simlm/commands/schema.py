"""Write what is derived from the typed configuration: the JSON schema, config/README.md, the comments of config/config.yaml.

simlm schema            after a change in simlm/config/
simlm schema --check    exit code 2 if a file is out of date, nothing is written
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm schema``."""
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    parser.add_argument("--root", type=Path, default=Path("."), metavar="FOLDER", help="the source tree (default: here)")


def run(arguments: argparse.Namespace) -> int:
    """Write or check the derived files."""
    from simlm.errors import UserError
    from simlm.files import write_text

    stale = {path: text for path, text in derived_files(arguments.root).items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    if arguments.check and stale:
        raise UserError(f"{', '.join(map(str, stale))}: out of date with simlm/config/; run `simlm schema`")
    for path, text in stale.items():
        write_text(path, text)
        print(f"wrote {path}")
    if not stale:
        print("The schema, config/README.md and the comments of config/config.yaml are up to date.")
    return 0


def derived_files(root: Path) -> dict[Path, str]:
    """Path → text of every file that follows from the typed configuration."""
    from simlm.config.docs import commented, json_schema, reference
    from simlm.errors import UserError

    default = root / "config" / "config.yaml"
    if not default.exists():
        raise UserError(f"{default} does not exist; run this in the source tree, or give it with --root")
    return {
        root / "workflow" / "schemas" / "config.schema.json": json_schema(),
        root / "config" / "README.md": reference(),
        default: commented(default.read_text(encoding="utf-8")),
    }
