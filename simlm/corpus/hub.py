"""A Hugging Face data set, or a local folder of data files, in BEIR's layout: passages, queries, judgements."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.corpora import HubDataset
from simlm.corpus.records import Collection, Records, Split
from simlm.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

ID_COLUMNS = ("_id", "docid", "doc_id", "id")
QUERY_ID_COLUMNS = ("_id", "query_id", "query-id", "qid", "id")
TEXT_COLUMNS = ("text", "contents", "query")
QRELS_COLUMNS = (("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "docid", "doc_id"), ("score", "relevance", "label"))
BATCH = 1000


def read_hub(block: HubDataset) -> Collection:
    """Load passages, queries and judgements with ``datasets``; code of a data set is never run.

    Raises
    ------
    UserError
        If a data set cannot be loaded or lacks a column or split.
    """
    passages = _only(load(block.id, block.passages, block.revision), block.passages, block.id)
    queries = _only(load(block.id, block.queries, block.revision), block.queries, block.id)
    local = Path(block.id).expanduser().is_dir() and block.qrels is None
    qrels_id = block.id if local else block.qrels or f"{block.id}-qrels"
    # A revision belongs to one repository: it counts for the judgements only where they are in the same one.
    qrels = load(qrels_id, "qrels" if local else None, block.revision if qrels_id == block.id else None)
    splits = {}
    texts = _records(queries, QUERY_ID_COLUMNS, (TEXT_COLUMNS,), block.id, f"{block.id}, query")
    for name, split in block.splits.items():
        if split not in qrels:
            raise UserError(f"corpus.splits.{name}: '{qrels_id}' has no split '{split}'{nearest(split, qrels)} (there are {', '.join(qrels)})")
        splits[name] = Split(texts, _records(qrels[split], QRELS_COLUMNS[0], QRELS_COLUMNS[1:], qrels_id, f"{qrels_id}, {split}, judgement"))
    titles: tuple[tuple[str, ...], ...] = (("title",), TEXT_COLUMNS) if "title" in passages.column_names else (TEXT_COLUMNS,)
    documents = _records(passages, ID_COLUMNS, titles, block.id, f"{block.id}, passage", untitled=len(titles) == 1)
    facts = {"source": "hub", "id": block.id, "revision": block.revision, "qrels": qrels_id, "versions": {"datasets": metadata.version("datasets")}}
    return Collection(documents, splits, facts)


def load(name: str, configuration: str | None, revision: str | None) -> DatasetDict:
    """All splits of a data set's configuration, or of ``<folder>/<configuration>.*`` and ``<folder>/<configuration>/*``."""
    import datasets

    folder = Path(name).expanduser()
    try:
        if folder.is_dir():
            files = _local_files(folder, configuration)
            return datasets.load_dataset(str(folder), data_files=files)
        return datasets.load_dataset(name, configuration, revision=revision)
    except UserError:
        raise
    except Exception as error:  # datasets raises many kinds: ValueError, FileNotFoundError, ConnectionError, its own
        reason = " ".join(str(error).split())[:200]
        advice = (
            "check the files"
            if folder.is_dir()
            else "check the id and its configurations on https://huggingface.co/datasets, or give a local folder where there is no network"
        )
        part = f"'{configuration}' of " if configuration else ""
        raise UserError(f"the data set {part}'{name}' cannot be loaded ({type(error).__name__}: {reason}); {advice}") from error


def _local_files(folder: Path, configuration: str | None) -> dict[str, list[str]]:
    """Split name → files: ``corpus.jsonl`` is one split, the files of ``qrels/`` are a split each."""
    if configuration is None:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
        return {path.name.split(".")[0]: [str(path)] for path in files}
    single = sorted(folder.glob(f"{configuration}.*"))
    if single:
        return {configuration: [str(path) for path in single]}
    inside = sorted(path for path in folder.glob(f"{configuration}/*") if path.is_file())
    if not inside:
        raise UserError(f"{folder} has neither {configuration}.* nor files in {configuration}/; put a .jsonl, .parquet or .tsv file there")
    if configuration == "qrels":
        return {path.name.split(".")[0]: [str(path)] for path in inside}
    return {configuration: [str(path) for path in inside]}


def _only(found: DatasetDict, configuration: str, name: str) -> Dataset:
    """The split called like its configuration, or the only one."""
    if configuration in found:
        return found[configuration]
    if len(found) == 1:
        return next(iter(found.values()))
    raise UserError(f"'{configuration}' of '{name}' has the splits {', '.join(found)}; one of them must be called '{configuration}'")


def column(dataset: Dataset, names: tuple[str, ...], where: str) -> str:
    """The first of ``names`` that the data set has."""
    for name in names:
        if name in dataset.column_names:
            return name
    raise UserError(f"'{where}' has none of the columns {', '.join(names)} (it has {', '.join(dataset.column_names)}); rename one")


def _records(dataset: Dataset, ids: tuple[str, ...], others: tuple[tuple[str, ...], ...], where: str, what: str, *, untitled: bool = False) -> Records:
    columns = [column(dataset, ids, where), *(column(dataset, names, where) for names in others)]

    def rows() -> Iterator[tuple[Any, ...]]:
        for batch in dataset.select_columns(columns).iter(batch_size=BATCH):
            for values in zip(*(batch[name] for name in columns)):
                if untitled:
                    values = (values[0], "", values[1])
                elif columns[1] == "title":
                    values = (values[0], "" if values[1] is None else values[1], values[2])
                yield values

    return Records(rows, lambda n: f"{what} {n}")
