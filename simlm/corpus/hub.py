"""A Hugging Face data set, or a local folder of data files, in BEIR's layout: passages, queries, judgements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.corpora import HubDataset
from simlm.corpus.qrels import GRADE_COLUMNS, PASSAGE_COLUMNS, QUERY_COLUMNS, judgements
from simlm.corpus.records import Collection, Records, Split
from simlm.corpus.tables import BATCH, FORMS, Placed, Table, form_of, open_table
from simlm.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

ID_COLUMNS = ("_id", "docid", "doc_id", "id")
QUERY_ID_COLUMNS = ("_id", "query_id", "query-id", "qid", "id")
TEXT_COLUMNS = ("text", "contents", "query")

JUDGED = ("qrels", "data", "default")
"""Folders of judgements: BEIR's, and those in which the hub keeps the files of a default configuration."""

_SHARD = re.compile(r"-\d+-of-\d+$")
"""What the hub puts behind a split's name, ``test-00000-of-00001.parquet``."""


def read_hub(block: HubDataset) -> Collection:
    """Open passages, queries and judgements: files of a folder, or a data set that ``datasets`` loads, whose code is never run.

    Raises
    ------
    UserError
        If a data set cannot be loaded or lacks a column or split; while reading a folder's files, at the first malformed line.
    """
    folder = Path(block.id).expanduser()
    if folder.is_dir():
        passages, queries = (open_table(local_files(folder, name)) for name in (block.passages, block.queries))
    else:
        passages, queries = (_only(load(block.id, name, block.revision), name, block.id) for name in (block.passages, block.queries))
    there, qrels_id = _qrels(block)
    splits = {}
    texts = queries.records(QUERY_ID_COLUMNS, TEXT_COLUMNS)
    for name, split in block.splits.items():
        if split not in there:
            raise UserError(f"corpus.splits.{name}: '{qrels_id}' has no split '{split}'{nearest(split, there)} (there are {', '.join(there)})")
        splits[name] = Split(texts, there[split])
    facts = {"source": "hub", "id": block.id, "revision": block.revision, "qrels": qrels_id, "versions": {"datasets": metadata.version("datasets")}}
    return Collection(documents_of(passages), splits, facts)


def documents_of(table: Table) -> Records:
    """(id, title, text) of a table of passages; ``""`` where there is no title."""
    titled = table.find(("title",)) is not None
    plain = table.records(ID_COLUMNS, ("title",), TEXT_COLUMNS) if titled else table.records(ID_COLUMNS, TEXT_COLUMNS)

    def rows() -> Iterator[tuple[Any, ...]]:
        for one, *title, text in plain:
            yield one, "" if not titled or title[0] is None else title[0], text

    return Records(rows, plain.where)


def _qrels(block: HubDataset) -> tuple[dict[str, Records], str]:
    """Judgements by split, and where they come from: `qrels` of the configuration, the folder's ``qrels/``, or ``<id>-qrels``."""
    name = block.qrels or (block.id if Path(block.id).expanduser().is_dir() else f"{block.id}-qrels")
    folder = Path(name).expanduser()
    if folder.is_dir():
        inside = next((folder / part for part in JUDGED if (folder / part).is_dir()), folder if block.qrels else None)
        if inside is None:
            raise UserError(f"{folder} has no folder {' or '.join(JUDGED)} with judgements; put <split>.tsv into {JUDGED[0]}/, or name another in corpus.qrels")
        return {split: judgements(*files) for split, files in _by_split(inside).items()}, name
    # A revision belongs to one repository: it counts for the judgements only where they are in the same one.
    found = load(name, None, block.revision if name == block.id else None)
    tables = {split: _table(dataset, f"{name}, {split}, judgement") for split, dataset in found.items()}
    return {split: table.records(QUERY_COLUMNS, PASSAGE_COLUMNS, GRADE_COLUMNS) for split, table in tables.items()}, name


def _by_split(folder: Path) -> dict[str, list[Path]]:
    """Files of judgements by the split that their names begin with; several are shards of one table."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix != ".md" and not file.name.startswith("."):
            found.setdefault(_SHARD.sub("", file.name.split(".")[0]), []).append(file)
    for split, files in found.items():
        if len(files) > 1 and not all(_SHARD.search(file.name.split(".")[0]) for file in files):
            raise UserError(f"{folder} holds {', '.join(file.name for file in files[:3])}: keep one form of '{split}'")
    return found


def local_files(folder: Path, name: str) -> list[Path]:
    """The data files called ``name`` in a folder, or those of its folder ``name``.

    Raises
    ------
    UserError
        If there are none, or several of different forms.
    """
    single = sorted(file for file in folder.iterdir() if file.is_file() and file.name.startswith(f"{name}.") and form_of(file))
    inside = sorted(file for file in (folder / name).iterdir() if file.is_file() and form_of(file)) if (folder / name).is_dir() else []
    files = single or inside
    if not files:
        raise UserError(f"{folder} has neither {name}.* nor files in {name}/ that end in {', '.join(FORMS)} (or .gz after it); put one there")
    if len({form_of(file) for file in files}) > 1 or (single and len(single) > 1):
        raise UserError(f"{files[0].parent} holds {', '.join(file.name for file in files[:3])}: keep one form of '{name}'")
    return files


def load(name: str, configuration: str | None, revision: str | None) -> DatasetDict:
    """All splits of a configuration of a Hugging Face data set."""
    import datasets

    try:
        plain = datasets.load_dataset_builder(name, configuration, revision=revision)
        # What pandas would guess: types of columns, absent values, and quotation marks in files that have tabs.
        texts = {"dtype": str, "keep_default_na": False, "na_filter": False, **({"quoting": 3} if getattr(plain.config, "sep", ",") == "\t" else {})}
        options = texts if hasattr(plain.config, "keep_default_na") else {}
        return datasets.load_dataset(name, configuration, revision=revision, **options)
    except Exception as error:  # datasets raises many kinds: ValueError, FileNotFoundError, ConnectionError, its own
        reason = " ".join(str(error).split())[:200]
        part = f"'{configuration}' of " if configuration else ""
        raise UserError(
            f"the data set {part}'{name}' cannot be loaded ({type(error).__name__}: {reason}); check the id and its configurations on "
            "https://huggingface.co/datasets, or give a local folder where there is no network"
        ) from error


def _only(found: DatasetDict, configuration: str, name: str) -> Table:
    """The split called like its configuration, or the only one."""
    if configuration not in found and len(found) > 1:
        raise UserError(f"'{configuration}' of '{name}' has the splits {', '.join(found)}; one of them must be called '{configuration}'")
    return _table(found[configuration] if configuration in found else next(iter(found.values())), f"{name}, {configuration}, row")


def _table(dataset: Dataset, what: str) -> Table:
    def read(columns: list[str]) -> Placed:
        number = 0
        for batch in dataset.select_columns(columns).iter(batch_size=BATCH):
            for values in zip(*(batch[name] for name in columns)):
                number += 1
                yield f"{what} {number}", values

    return Table(list(dataset.column_names), read, what)
