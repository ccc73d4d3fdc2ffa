"""The Arrow file of the passages, written in one pass that checks all that later stages rely on."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simlm.corpus.choice import hash64
from simlm.corpus.judged import JudgedSplit
from simlm.corpus.own_passages import OwnPassages, is_own
from simlm.corpus.records import Passage, clean_id, clean_text
from simlm.errors import UserError
from simlm.files import write_json

ARROW_FILE = "passages/data-00000-of-00001.arrow"
COLUMNS = ("id", "title", "text")
MOST_PASSAGES = 2**31 - 1  # rows are stored as int32 in runs and negatives
BATCH_ROWS = 4096  # passages per Arrow record batch: a few megabytes in memory while writing
BATCH_LETTERS = 1 << 26  # a batch of long passages is cut here, far below the 2 GiB that an Arrow column of texts can hold
LONGEST_TEXT = 1 << 28  # characters; more is a file that was taken for a passage
_FEATURES = {name: {"dtype": "string", "_type": "Value"} for name in COLUMNS}


class PassageWriter:
    """Streams passages into the Arrow file while it collects digest, id hashes and the judged ids seen."""

    def __init__(self, folder: Path, wanted: set[str], splits: dict[str, JudgedSplit]) -> None:
        (folder / "passages").mkdir()
        self.folder, self.wanted, self.splits = folder, wanted, splits
        self.asked = set().union(*(split.queries for split in splits.values()))
        self.own = {name: OwnPassages(len(split.queries)) for name, split in splits.items()}
        self.seen: set[str] = set()
        self.left_out = self.empty = self.titled = self.words = self.letters = 0
        self.hashes, self.positions = array("Q"), array("Q")
        self.digest = hashlib.sha256()
        self.schema = pa.schema([(name, pa.string()) for name in COLUMNS], metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})})
        self.stream = pa.OSFile(str(folder / ARROW_FILE), "wb")
        self.arrow = pa.ipc.new_stream(self.stream, self.schema)
        self.batch: list[Passage] = []

    def add(self, n: int, passage: Passage, where: Callable[[int], str], chosen: Container[str] | None) -> None:
        one = clean_id(passage[0], where, n, "passage")
        if chosen is not None and one not in chosen:
            self.left_out += 1
            return
        title = clean_text(passage[1], where, n, "title").strip()
        text = clean_text(passage[2], where, n, "text").strip()
        if len(title) + len(text) > LONGEST_TEXT:
            raise UserError(f"{where(n)}: the passage has {len(title) + len(text):,} characters; cut it into passages of at most {LONGEST_TEXT:,}")
        if one in self.wanted:
            self.seen.add(one)
        if one in self.asked:
            self._note_own(one, title, text)
        self.hashes.append(hash64(one))
        self.positions.append(n)
        self.empty += not text
        self.titled += bool(title)
        self.words += len(text.split())
        # Lengths first, so that no two different sequences of strings have the same bytes.
        self.digest.update(f"{len(one)} {len(title)} {len(text)}\n{one}{title}{text}".encode())
        self.batch.append((one, title, text))
        self.letters += len(title) + len(text)
        if len(self.batch) == BATCH_ROWS or self.letters > BATCH_LETTERS:
            self._flush()

    def _note_own(self, one: str, title: str, text: str) -> None:
        for name, split in self.splits.items():
            if one in split.queries:
                self.own[name].shared += 1
                self.own[name].meant += is_own(one, split.queries[one], title, text)

    def _flush(self) -> None:
        if self.batch:
            self.arrow.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in zip(*self.batch)], schema=self.schema))
            self.batch.clear()
            self.letters = 0

    def finish(self, where: Callable[[int], str]) -> dict[str, Any]:
        """Close the file and return its facts."""
        self._flush()
        self.arrow.close()
        self.stream.close()
        count = len(self.hashes)
        if not count:
            raise UserError(f"the corpus has no passages ({where(1)})")
        if count > MOST_PASSAGES:
            raise UserError(f"the corpus has {count:,} passages; rows are 32-bit numbers, so {MOST_PASSAGES:,} is the most")
        self._refuse_duplicates(where)
        _write_dataset_files(self.folder / "passages", self.digest.hexdigest()[:16])
        return {
            "count": count,
            "with_title": self.titled,
            "empty": self.empty,
            "words_mean": round(self.words / count, 1),
            "bytes": (self.folder / ARROW_FILE).stat().st_size,
            "sha256": self.digest.hexdigest(),
        }

    def _refuse_duplicates(self, where: Callable[[int], str]) -> None:
        hashes = np.frombuffer(self.hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        # Equal hashes of different ids are so rare that the first few pairs tell; one is all the sentence needs.
        pairs = sorted(((int(order[i]), int(order[i + 1])) for i in same), key=lambda pair: pair[1])[:100]
        if not pairs:
            return
        ids = _ids_at(self.folder / ARROW_FILE, {row for pair in pairs for row in pair})
        for first, second in pairs:
            if ids[first] == ids[second]:
                raise UserError(
                    f"{where(self.positions[second])}: the passage id '{ids[second]}' was used before, at {where(self.positions[first])}; ids must be unique"
                )


def _ids_at(file: Path, rows: set[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    start = 0
    with pa.memory_map(str(file)) as source:
        for batch in pa.ipc.open_stream(source):
            found |= {row: batch.column(0)[row - start].as_py() for row in rows if start <= row < start + batch.num_rows}
            start += batch.num_rows
    return found


def _write_dataset_files(folder: Path, fingerprint: str) -> None:
    """The two small files beside the Arrow stream that ``datasets.load_from_disk`` reads.

    They are written here because importing ``datasets`` for them takes longer than preparing a small corpus.
    """
    write_json(folder / "dataset_info.json", {"citation": "", "description": "", "features": _FEATURES, "homepage": "", "license": ""})
    state = {
        "_data_files": [{"filename": Path(ARROW_FILE).name}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
    }
    write_json(folder / "state.json", {**state, "_output_all_columns": False, "_split": None})
