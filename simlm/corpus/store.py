"""Reader of the corpus store: memory-mapped passages, queries and judgements of every split."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlm.corpus.passage_file import ARROW_FILE, COLUMNS
from simlm.corpus.qrels import read_qrels
from simlm.corpus.writer import MANIFEST, write_corpus
from simlm.errors import UserError, nearest
from simlm.files import first_bad_line, read_manifest

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["CorpusStore", "PassageBatch", "write_corpus"]

MADE_BY = "simlm prepare-corpus"


class PassageBatch(NamedTuple):
    """Consecutive passages; ``start`` is the row of the first."""

    start: int
    ids: list[str]
    titles: list[str]
    texts: list[str]


class CorpusStore:
    """The folder that ``simlm prepare-corpus`` writes.

    Opening it reads a manifest and Arrow metadata only; texts are paged in from disk as they are asked for, so that
    the memory used does not grow with the corpus. A store can be pickled (it is opened again in the other process).

    Parameters
    ----------
    folder
        The corpus folder, ``Paths.corpus``.

    Raises
    ------
    UserError
        If the folder was never completed, or if the Arrow file is truncated or does not fit the manifest.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     passages = [("a", "", "apples"), ("b", "Fruit", "pears")]
    ...     _ = write_corpus(parent + "/corpus", passages, {"test": ([("q", "which fruit?")], [("q", "b", 2)])}, {"source": "mine"})
    ...     store = CorpusStore(parent + "/corpus")
    ...     print(len(store), store.texts([1, 0]), store.ids([1]), store.rows(["b", "a"]))
    ...     print(store.queries("test"), store.qrels("test"), store.positives("test"))
    2 (['Fruit', ''], ['pears', 'apples']) ['b'] [1, 0]
    {'q': 'which fruit?'} {'q': {'b': 2}} {'q': [1]}
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        shape = {"sha256": str, "passages": {"bytes": int, "count": int}, "splits": dict}
        self.manifest: dict[str, Any] = read_manifest(self.folder / MANIFEST, "the manifest of a corpus", MADE_BY, shape)
        for name, split in self.manifest["splits"].items():
            if not isinstance(split, dict) or not all(isinstance(split.get(what), int) for what in ("queries", "judgements")):
                raise UserError(f"{self.folder / MANIFEST} does not say what the split '{name}' holds; delete it and run {MADE_BY} again")
        self._open()

    def _open(self) -> None:
        file = self.folder / ARROW_FILE
        expected = self.manifest["passages"]
        again = f"delete {self.folder} and run {MADE_BY} again"
        try:
            size = os.path.getsize(file)
            if size != expected["bytes"]:
                raise UserError(f"{file} is truncated or not the one the manifest describes ({size:,} bytes instead of {expected['bytes']:,}); {again}")
            self._map = pa.memory_map(str(file))
            batches = list(pa.ipc.open_stream(self._map))
        except FileNotFoundError:
            raise UserError(f"{file} is missing; {again}") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{file} cannot be read as Arrow ({error}); {again}") from None
        self._starts = np.cumsum([0] + [batch.num_rows for batch in batches])
        if int(self._starts[-1]) != expected["count"]:
            raise UserError(f"{file} holds {int(self._starts[-1]):,} passages but the manifest says {expected['count']:,}; {again}")
        self._columns = {name: [batch.column(i) for batch in batches] for i, name in enumerate(COLUMNS)}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        """Number of passages."""
        return int(self._starts[-1])

    @property
    def sha256(self) -> str:
        """Hex digest of the content (passages, queries, judgements), whatever the layout of the files."""
        return self.manifest["sha256"]

    @property
    def splits(self) -> list[str]:
        """Names of the splits, sorted."""
        return sorted(self.manifest["splits"])

    @cached_property
    def passages(self) -> Dataset:
        """The passages as a Hugging Face data set (imports ``datasets``, which takes a second or two)."""
        from datasets import load_from_disk

        return load_from_disk(str(self.folder / "passages"))

    def texts(self, rows: Sequence[int] | np.ndarray) -> tuple[list[str], list[str]]:
        """Titles and texts of passages by row, in the order asked for."""
        places = self._locate(rows)
        return self._take("title", *places), self._take("text", *places)

    def ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """External ids of passages by row, in the order asked for."""
        return self._take("id", *self._locate(rows))

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Rows of passages by external id, in the order asked for.

        One pass over the id column, with 4 bytes per passage: ask for many ids at once.

        Raises
        ------
        UserError
            If the corpus has no passage of that id.
        """
        names = list(dict.fromkeys(ids))
        row_of = self.known_rows(names)
        missing = next((name for name in names if name not in row_of), None)
        if missing is not None:
            raise UserError(f"{self.folder} has no passage with the id '{missing}'; was the file that names it made from another corpus?")
        return [row_of[one] for one in ids]

    def known_rows(self, ids: Sequence[str]) -> dict[str, int]:
        """Id → row of those ids that the corpus has."""
        wanted = pa.array(ids, pa.string())
        if not len(wanted):
            return {}
        # Which of the wanted ids, if any, stands in each row: 4 bytes per passage of the corpus.
        which = pc.fill_null(pc.index_in(pa.chunked_array(self._columns["id"]), value_set=wanted), -1).to_numpy()
        hits = np.flatnonzero(which >= 0)
        return dict(zip(wanted.take(pa.array(which[hits])).to_pylist(), hits.tolist()))

    def iter_batches(self, start: int = 0, stop: int | None = None, size: int = 1000) -> Iterator[PassageBatch]:
        """Passages ``start`` to ``stop`` (exclusive; default: the end) in row order, at most ``size`` at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        for first in range(start, stop, size):
            last = min(first + size, stop)
            yield PassageBatch(first, *(self._slice(name, first, last) for name in COLUMNS))

    def queries(self, split: str) -> dict[str, str]:
        """Query id → text of a split, in file order.

        Raises
        ------
        UserError
            If there is no such split, or if its file is missing, empty or malformed.
        """
        file = self._split_file("queries", split, ".tsv")
        queries: dict[str, str] = {}
        for number, line in self._lines(file):
            query_id, tab, text = line.partition("\t")
            if not tab or not text.strip():
                raise UserError(f"{file}:{number} is not 'id, tab, text'; run {MADE_BY} again")
            queries[query_id] = text
        self._check_count(file, len(queries), self.manifest["splits"][split]["queries"], "queries")
        return queries

    def qrels(self, split: str) -> dict[str, dict[str, int]]:
        """Query id → external passage id → grade; among them are passages that the source judges but the corpus lacks.

        Empty for a split of questions that have answers instead.
        """
        file = self._split_file("qrels", split, ".qrels")
        if not self.manifest["splits"][split]["judgements"]:
            return {}
        if not file.is_file():
            raise UserError(f"{file} is missing; delete {self.folder} and run {MADE_BY} again")
        if not file.stat().st_size:
            raise UserError(f"{file} is empty; delete {self.folder} and run {MADE_BY} again")
        try:
            qrels = read_qrels(file)
        except UserError as error:
            raise UserError(f"{error}; delete {self.folder} and run {MADE_BY} again") from None
        self._check_count(file, sum(map(len, qrels.values())), self.manifest["splits"][split]["judgements"], "judgements")
        return qrels

    def answers(self, split: str) -> dict[str, list[str]]:
        """Query id → answers, for all queries of a split of questions; some may have none.

        Raises
        ------
        UserError
            If the queries of the split come without answers, or their file is missing or malformed.
        """
        file = self._split_file("answers", split, ".jsonl")
        if "answers" not in self.manifest["splits"][split]:
            raise UserError(f"the queries of the split '{split}' come without answers; judge it by judged passages")
        found: dict[str, list[str]] = {}
        for number, line in self._lines(file):
            try:
                entry = json.loads(line)
                found[entry["query"]] = [str(answer) for answer in entry["answers"]]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{file}:{number} is not a question with its answers; run {MADE_BY} again") from None
        self._check_count(file, len(found), self.manifest["splits"][split]["queries"], "questions")
        return found

    def own_rows(self, split: str) -> dict[str, int]:
        """Query id → row of the passage that is the query itself, for a split where these are left out of all results; else empty."""
        self._split_file("queries", split, ".tsv")
        if not self.manifest["splits"][split].get("own_passages", {}).get("left_out"):
            return {}
        return self.known_rows(list(self.queries(split)))

    def positives(self, split: str, relevance: int = 1) -> dict[str, list[int]]:
        """Query id → sorted rows of the passages whose grade is at least ``relevance``; queries without any in the corpus are left out.

        The passage that is the query itself is none of them where it is left out of the results (:meth:`own_rows`).
        """
        relevant = {query: [passage for passage, grade in graded.items() if grade >= relevance] for query, graded in self.qrels(split).items()}
        names = list(dict.fromkeys(passage for passages in relevant.values() for passage in passages))
        # Older manifests do not count them: those corpora have all judged passages.
        absent = self.manifest["splits"][split].get("judgements_of_absent_passages", 0)
        row_of = self.known_rows(names) if absent else dict(zip(names, self.rows(names)))
        own = self.own_rows(split)
        rows = {query: sorted({row_of[passage] for passage in passages if passage in row_of} - {own.get(query)}) for query, passages in relevant.items()}
        return {query: own for query, own in rows.items() if own}

    def _locate(self, rows: Sequence[int] | np.ndarray) -> tuple[list[int], list[int]]:
        """Chunk of each row, and the place inside it."""
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            wrong = int(wanted.min()) if wanted.min() < 0 else int(wanted.max())
            raise UserError(f"{self.folder} has {len(self):,} passages, so there is no row {wrong}; was the file that names it made from another corpus?")
        chunks = np.searchsorted(self._starts, wanted, side="right") - 1
        return chunks.tolist(), (wanted - self._starts[chunks]).tolist()

    def _take(self, column: str, chunks: list[int], places: list[int]) -> list[str]:
        arrays = self._columns[column]
        return [arrays[chunk][place].as_py() for chunk, place in zip(chunks, places)]

    def _slice(self, column: str, first: int, last: int) -> list[str]:
        values: list[str] = []
        chunk = int(np.searchsorted(self._starts, first, side="right")) - 1
        while first < last:
            start, end = int(self._starts[chunk]), int(self._starts[chunk + 1])
            values += self._columns[column][chunk].slice(first - start, min(last, end) - first).to_pylist()
            first, chunk = end, chunk + 1
        return values

    def _split_file(self, kind: str, split: str, suffix: str) -> Path:
        if split not in self.manifest["splits"]:
            raise UserError(f"{self.folder} has no split '{split}'{nearest(split, self.splits)} (there are {', '.join(self.splits)})")
        return self.folder / kind / (split + suffix)

    def _lines(self, file: Path) -> Iterator[tuple[int, str]]:
        """Numbered lines, cut at newlines alone (a text may hold other separators that ``splitlines`` would cut at)."""
        try:
            with open(file, encoding="utf-8", newline="\n") as stream:
                for number, line in enumerate(stream, 1):
                    yield number, line.rstrip("\n")
        except FileNotFoundError:
            raise UserError(f"{file} is missing; delete {self.folder} and run {MADE_BY} again") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{file}:{first_bad_line(file)} is not UTF-8 ({error.reason}); run {MADE_BY} again") from None

    def _check_count(self, file: Path, found: int, expected: int, what: str) -> None:
        if not found:
            raise UserError(f"{file} is empty; delete {self.folder} and run {MADE_BY} again")
        if found != expected:
            raise UserError(f"{file} holds {found:,} {what} but the manifest says {expected:,}; delete {self.folder} and run {MADE_BY} again")
