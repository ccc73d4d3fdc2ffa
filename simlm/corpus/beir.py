"""A folder in BEIR's layout: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/<split>.tsv (or judgements in another form)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simlm.config.corpora import BeirFolder
from simlm.corpus.qrels import judgements, qrels_file
from simlm.corpus.records import Collection, Records, Split
from simlm.corpus.tables import json_objects, placed
from simlm.errors import UserError, nearest
from simlm.files import sha256_file


def read_beir(block: BeirFolder) -> Collection:
    """Open the folder; files are read as they are asked for.

    Raises
    ------
    UserError
        If a file is missing, or, while reading, at the first malformed line.
    """
    folder = Path(block.path).expanduser()
    if not folder.is_dir():
        raise UserError(f"corpus.path: the folder {folder} does not exist; it must hold corpus.jsonl, queries.jsonl and qrels/")
    corpus, queries = _file(folder, "corpus"), _file(folder, "queries")
    splits, used = {}, [corpus, queries]
    for name, stem in block.splits.items():
        file = qrels_file(folder / "qrels", stem)
        if file is None:
            there = sorted({path.name.split(".")[0] for path in (folder / "qrels").iterdir()}) if (folder / "qrels").is_dir() else []
            raise UserError(
                f"corpus.splits.{name}: {folder / 'qrels' / stem}.tsv does not exist{nearest(stem, there)} (there are {', '.join(there) or 'no files'})"
            )
        splits[name] = Split(_records(queries, "text"), judgements(file))
        used.append(file)
    facts = {"source": "beir", "files": {str(file.relative_to(folder)): sha256_file(file) for file in used}}
    return Collection(_records(corpus, "title", "text"), splits, facts)


def _file(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.jsonl", f"{stem}.jsonl.gz"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has neither {stem}.jsonl nor {stem}.jsonl.gz; put one there")


def _records(file: Path, *keys: str) -> Records:
    """``_id`` and the values of ``keys``; an absent title is ``""``."""

    def read() -> Iterator[tuple[str, tuple[Any, ...]]]:
        for number, value in json_objects(file, ("_id", *keys)):
            for key in ("_id", "text"):
                if key not in value:
                    raise UserError(f"{file}:{number} lacks the key '{key}'{nearest(key, value)}")
            yield f"{file}:{number}", (value["_id"], *("" if key == "title" and value.get(key) is None else value[key] for key in keys))

    return placed(read, str(file))
