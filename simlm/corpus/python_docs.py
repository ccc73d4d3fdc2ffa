"""The docstrings of installed Python packages as a retrieval collection: "find the function that does this".

The first paragraph of a docstring is a query, the rest is its one relevant passage. Sources are read with `ast`;
nothing is imported, so that reading is quick and safe and the same versions give the same bytes everywhere.
"""

from __future__ import annotations

import ast
import gc
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from simlm.config.corpora import PythonDocs
from simlm.corpus.choice import part_of
from simlm.corpus.records import Collection, Records, Split
from simlm.errors import UserError, nearest
from simlm.hardware import available_cores
from simlm.progress import progress

_TESTS = {"test", "tests", "_tests"}
_UNDERLINE = re.compile(r"^\s*([-=~^\"*+#])\1{2,}\s*$", re.MULTILINE)
_VERSION_NOTE = re.compile(
    r"^([ \t]*)\.\. (?:deprecated|versionadded|versionchanged|currentmodule|legacy)::.*(?:\n(?:\1[ \t]+.*|[ \t]*(?=\n\1[ \t]+)))*", re.MULTILINE
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_NO_SENTENCE = re.compile(
    r"^(\.\.|>>>|:\w|@|\||\+--|(args|arguments|parameters|returns?|attributes|examples?|notes?|raises|yields|references)\s*:?\s*(\n|$))", re.IGNORECASE
)


class Docstring(NamedTuple):
    """A documented definition: module, qualified name inside it, first paragraph, the rest (white space normalised)."""

    module: str
    name: str
    query: str
    passage: str

    @property
    def qualified(self) -> str:
        return f"{self.module}.{self.name}"


def read_python_docs(block: PythonDocs) -> Collection:
    """Read the docstrings of ``block.packages``.

    Raises
    ------
    UserError
        If a package is not installed, or if nothing is left.
    """
    versions, files = _source_files(block.packages)
    dropped: Counter[str] = Counter()
    found = _usable(_parse_all(files, dropped), block, dropped)
    kept = sorted(_unambiguous(found, dropped), key=lambda doc: doc.qualified)
    if not kept:
        raise UserError(f"corpus.packages: no docstring of {', '.join(block.packages)} has a first paragraph and a rest of the lengths asked for; add packages")
    splits = {}
    for part in block.parts:
        mine = [doc for doc in kept if part_of(doc.qualified, block.parts) == part]
        if not mine:
            raise UserError(f"corpus.parts: none of the {len(kept)} docstrings falls into '{part}'; add packages or give it a larger share")
        splits[part] = Split([(f"q:{doc.qualified}", doc.query) for doc in mine], [(f"q:{doc.qualified}", doc.qualified, 1) for doc in mine])
    titles = {"name": lambda doc: doc.qualified, "module": lambda doc: doc.module, "none": lambda doc: ""}[block.title]
    passages = Records(lambda: ((doc.qualified, titles(doc), doc.passage) for doc in kept), lambda n: f"docstring {n}")
    facts = {"source": "python_docs", "packages": versions, "files": len(files), "titles": block.title}
    return Collection(passages, splits, facts, lambda: dict(sorted(dropped.items())))


def _source_files(packages: list[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Versions of the packages, and (module name, path) of their Python files, tests left out, sorted."""
    versions: dict[str, str] = {}
    modules: dict[str, str] = {}
    for package in packages:
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            installed = sorted({name for one in metadata.distributions() if (name := one.metadata["Name"])})
            raise UserError(
                f"corpus.packages: '{package}' is not installed{nearest(package, installed)}; run `pip install {package}` or take it off the list"
            ) from None
        versions[package] = distribution.version
        python = [file for file in distribution.files or [] if file.suffix == ".py" and not _is_test(file)]
        if not python:
            raise UserError(f"corpus.packages: '{package}' {distribution.version} lists no Python sources (an editable install does not); take it off the list")
        for file in python:
            modules[_module_name(file)] = str(file.locate())
    return versions, sorted(modules.items())


def _is_test(file: PurePosixPath) -> bool:
    name = file.name
    return (
        ".." in file.parts or not _TESTS.isdisjoint(file.parts) or name in ("conftest.py", "setup.py") or name.startswith("test_") or name.endswith("_test.py")
    )


def _module_name(file: PurePosixPath) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _parse_all(files: list[tuple[str, str]], dropped: Counter[str]) -> Iterator[Docstring]:
    """Docstrings of all files, in the files' order whatever the number of processes."""
    workers = min(available_cores(), 8, len(files) // 200)
    if workers > 1:
        # Syntax trees have no cycles, so the collector finds nothing there and takes a seventh of the time.
        with ProcessPoolExecutor(workers, initializer=gc.disable) as pool:
            yield from _collect(pool.map(_parse_file, files, chunksize=20), len(files), dropped)
    else:
        yield from _collect(map(_parse_file, files), len(files), dropped)


def _collect(parsed, total: int, dropped: Counter[str]) -> Iterator[Docstring]:
    for documents in progress(parsed, total, "Reading Python sources", unit="files"):
        if documents is None:
            dropped["unparsable_files"] += 1
        else:
            yield from documents


def _parse_file(named: tuple[str, str]) -> list[Docstring] | None:
    """All docstrings with two paragraphs of one file; None if it does not parse (templates, Python 2)."""
    module, path = named
    try:
        source = Path(path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); install its package again") from None
    return list(docstrings(tree, module))


def docstrings(tree: ast.Module, module: str) -> Iterator[Docstring]:
    """Documented functions, classes and methods, also conditional ones; not those inside functions.

    >>> source = 'class A:\\n    def f(self):\\n        \"\"\"Do one thing well.\\n\\n        And   more.\"\"\"'
    >>> list(docstrings(ast.parse(source), "m"))
    [Docstring(module='m', name='A.f', query='Do one thing well.', passage='And more.')]
    """
    stack: list[tuple[str, ast.AST]] = [("", node) for node in reversed(tree.body)]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = prefix + node.name
            text = ast.get_docstring(node)
            if text and (document := split_docstring(text)):
                yield Docstring(module, name, *document)
            if isinstance(node, ast.ClassDef):
                stack += [(f"{name}.", child) for child in reversed(node.body)]
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While | ast.ExceptHandler):
            stack += [(prefix, child) for child in reversed(list(ast.iter_child_nodes(node))) if isinstance(child, ast.stmt | ast.ExceptHandler)]


def split_docstring(text: str) -> tuple[str, str] | None:
    """First paragraph and rest with white space normalised, or None when the docstring does not start with a sentence.

    Notes on versions (``.. deprecated::``) and the underlines of headings are left out: they say nothing about the function.

    >>> split_docstring("Add two numbers.\\n\\n.. versionadded:: 1.0\\n   Or so.\\n\\nParameters\\n----------\\na : int")
    ('Add two numbers.', 'Parameters a : int')
    """
    text = _VERSION_NOTE.sub("", text.expandtabs()).strip()
    first, *others = _BLANK_LINE.split(text, maxsplit=1)
    rest = "".join(others)
    if not rest.strip() or _NO_SENTENCE.match(first) or _UNDERLINE.search(first):
        return None
    return " ".join(first.split()), " ".join(_UNDERLINE.sub("", rest).split())


def _usable(found: Iterator[Docstring], block: PythonDocs, dropped: Counter[str]) -> Iterator[Docstring]:
    """Those of the right lengths whose query does not stand in the passage, once per name."""
    fewest, most = block.query_words
    names: set[str] = set()
    for doc in found:
        if not fewest <= len(doc.query.split()) <= most:
            dropped["query_too_short_or_long"] += 1
        elif len(doc.passage.split()) < block.passage_words:
            dropped["passage_too_short"] += 1
        elif _key(doc.query) in _key(doc.passage):
            dropped["query_inside_passage"] += 1
        elif doc.qualified in names:
            dropped["defined_twice"] += 1
        else:
            names.add(doc.qualified)
            yield doc


def _unambiguous(found: Iterator[Docstring], dropped: Counter[str]) -> list[Docstring]:
    """Copies removed (the first in source order stays), then all whose query describes several passages."""
    first: dict[str, Docstring] = {}
    for doc in found:
        if first.setdefault(doc.passage, doc) is not doc:
            dropped["same_passage"] += 1
    uses = Counter(_key(doc.query) for doc in first.values())
    kept = [doc for doc in first.values() if uses[_key(doc.query)] == 1]
    dropped["ambiguous_query"] += len(first) - len(kept)
    return kept


def _key(text: str) -> str:
    """Words alone: texts that differ in case or punctuation only are the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))
