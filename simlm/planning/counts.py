"""How large a collection is: from the prepared corpus, from the files, from the table of known collections, or assumed."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from simlm.config import Experiment
from simlm.config.corpora import WITH_ANSWERS, BeirFolder, CorpusBlock, HubDataset, IrDatasets, PythonDocs
from simlm.corpus.qrels import judgements, qrels_file
from simlm.errors import UserError, nearest
from simlm.paths import Paths

UNPACKED = 64 * 2**20
"""Bytes of a compressed corpus up to which it is unpacked to be counted, which takes a second or two."""

DATA = Path(__file__).with_name("collections.yaml")


@dataclass(frozen=True)
class Counts:
    """Size of a collection.

    Attributes
    ----------
    words
        Words of a passage and its title, on average.
    queries
        Queries by split.
    source
        Where the figures come from.
    assumed
        What is not known, in sentences.
    """

    passages: int
    words: float
    queries: dict[str, int]
    source: str
    assumed: list[str] = field(default_factory=list)


def count(experiment: Experiment, paths: Paths, given: dict[str, int] | None = None) -> Counts:
    """Size of an experiment's collection; ``given`` overrides it (``passages``, or the name of a split).

    Raises
    ------
    UserError
        If ``given`` names neither.
    """
    found = _prepared(paths.corpus / "manifest.json") or _limited(experiment.corpus, _source(experiment.corpus))
    for name, number in (given or {}).items():
        if name == "passages":
            found = replace(found, passages=number, source="the command line")
        elif name in found.queries:
            found = replace(found, queries={**found.queries, name: number})
        else:
            raise UserError(f"--counts: there is no split '{name}'{nearest(name, found.queries)} (there are passages, {', '.join(found.queries)})")
    return found


def unknown(experiment: Experiment) -> Counts:
    """The size that is assumed of a collection of which nothing is known."""
    table = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return _limited(experiment.corpus, _known("", dict.fromkeys(experiment.corpus.source_splits(), ""), False, table))


def _prepared(manifest: Path) -> Counts | None:
    try:
        about = json.loads(manifest.read_text(encoding="utf-8"))
        queries = {name: split["queries"] for name, split in about["splits"].items()}
        return Counts(about["passages"]["count"], about["passages"]["words_mean"], queries, "the prepared corpus")
    except (OSError, ValueError, KeyError):
        return None


def _source(block: CorpusBlock) -> Counts:
    table = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    if isinstance(block, PythonDocs):
        return _python_docs(block, table["python_docs"])
    if isinstance(block, BeirFolder):
        return _beir(block, table["default"])
    if isinstance(block, IrDatasets):
        titled = block.titles != "none" or block.passages == WITH_ANSWERS  # which come with Wikipedia's
        questions = {name: file.rpartition("/")[2] for name, file in block.questions.items()}
        return _known(block.passages, {**block.splits, **questions}, titled, table)
    if isinstance(block, HubDataset):
        return _known(block.id.lower(), {name: f"{block.id.lower()}/{split}" for name, split in block.splits.items()}, True, table)
    return _known("", dict.fromkeys(block.source_splits(), ""), False, table)


def _known(passages: str, splits: dict[str, str], titled: bool, table: dict[str, Any]) -> Counts:
    assumed = []
    about = table["passages"].get(passages)
    if about is None:
        about = table["default"]
        assumed.append(f"the size of '{passages}' is not known here; {about['count']:,} passages of {about['words']} words are assumed (--counts passages=N)")
    queries = {}
    for name, key in splits.items():
        queries[name] = table["queries"].get(key, table["default"]["queries"])
        if key not in table["queries"]:
            assumed.append(f"the number of queries of '{name}' is not known here; {queries[name]:,} are assumed (--counts {name}=N)")
    return Counts(about["count"], about["words"] + titled * about["title"], queries, "the table of known collections", assumed)


def _python_docs(block: PythonDocs, table: dict[str, Any]) -> Counts:
    """Passages in proportion to the size of the sources: reading them all would take longer than the plan is worth."""
    size, missing = 0, []
    for package in block.packages:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
            continue
        size += sum(Path(file.locate()).stat().st_size for file in files if file.suffix == ".py" and Path(file.locate()).is_file())
    passages = max(1, round(size / 2**20 * table["passages_per_mib"]))
    assumed = [f"passages and queries are estimated from the size of the packages ({size / 2**20:,.0f} MiB of source)"]
    if missing:
        assumed.append(f"not installed here: {', '.join(missing)}")
    queries = {name: max(1, round(passages * share)) for name, share in block.parts.items()}
    return Counts(passages, table["words"] + table["title"], queries, "the size of the sources", assumed)


def _beir(block: BeirFolder, default: dict[str, Any]) -> Counts:
    """Lines of the files; large compressed ones are not unpacked but taken for three times their size."""
    folder = Path(block.path).expanduser()
    plain, packed = folder / "corpus.jsonl", folder / "corpus.jsonl.gz"
    queries = {name: _judged_queries(folder / "qrels", stem) for name, stem in block.splits.items()}
    if plain.is_file():
        lines = _lines(plain)
        return Counts(lines, plain.stat().st_size / lines / 6.2, queries, f"the files in {folder}")
    if packed.is_file() and packed.stat().st_size <= UNPACKED:
        with gzip.open(packed, "rb") as stream:
            lines, size = _lines_and_bytes(stream)
        return Counts(lines, size / lines / 6.2, queries, f"the files in {folder}")
    if packed.is_file():
        size = 3 * packed.stat().st_size
        passages = max(1, round(size / (6.2 * default["words"])))
        return Counts(passages, default["words"], queries, f"the files in {folder}", [f"{packed} is compressed; {passages:,} passages are assumed"])
    raise UserError(f"corpus.path: {folder} has neither corpus.jsonl nor corpus.jsonl.gz; put one there")


def _lines(file: Path) -> int:
    with open(file, "rb") as stream:
        return _lines_and_bytes(stream)[0]


def _lines_and_bytes(stream: Any) -> tuple[int, int]:
    lines = size = 0
    for block in iter(lambda: stream.read(1 << 22), b""):
        lines, size = lines + block.count(b"\n"), size + len(block)
    return max(1, lines), size


def _judged_queries(folder: Path, stem: str) -> int:
    file = qrels_file(folder, stem)
    if file is None:
        raise UserError(f"corpus.splits: {folder / stem}.tsv does not exist")
    return max(1, len({query for query, _, _ in judgements(file)}))


def _limited(block: CorpusBlock, counts: Counts) -> Counts:
    """What partition, ``max_queries`` and ``max_passages`` leave, and the queries that are made of the passages."""
    queries = dict(counts.queries)
    if block.partition:
        whole = queries.pop(block.partition.of)
        queries |= {name: max(1, round(whole * share)) for name, share in block.partition.parts.items()}
    queries = {name: min(number, block.max_queries.get(name, number)) for name, number in queries.items()}
    passages = counts.passages
    if block.max_passages is not None and block.max_passages < passages:
        passages = block.max_passages
        # A query stays only if a relevant passage does; those of limited splits were asked for.
        room = max(1, passages - sum(queries[name] for name in block.max_queries))
        queries = {name: number if name in block.max_queries else min(number, room) for name, number in queries.items()}
    if made := block.made_queries:
        number = min(passages, made.passages or passages) * (made.generator.per_passage if made.generator else 1)
        queries |= {name: max(1, round(number * share)) for name, share in made.parts.items()}
    return replace(counts, passages=passages, queries=queries)
