"""Writes the corpus store in one pass over the passages, checking all that later stages rely on."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simlm.corpus.choice import hash64
from simlm.corpus.counts import Expected
from simlm.corpus.judged import JudgedSplit, keep_passages, limit_queries, partition, read_split
from simlm.corpus.own_passages import OwnPassages, is_own
from simlm.corpus.records import Passage, Records, clean_id, clean_text
from simlm.errors import UserError, nearest
from simlm.files import atomic_folder, sha256_text, write_json
from simlm.progress import progress

MANIFEST = "manifest.json"
ARROW_FILE = "passages/data-00000-of-00001.arrow"
COLUMNS = ("id", "title", "text")
MOST_PASSAGES = 2**31 - 1  # rows are stored as int32 in runs and negatives
BATCH_ROWS = 4096  # passages per Arrow record batch: a few megabytes in memory while writing
BATCH_LETTERS = 1 << 26  # a batch of long passages is cut here, far below the 2 GiB that an Arrow column of texts can hold
LONGEST_TEXT = 1 << 28  # characters; more is a file that was taken for a passage
SPLIT_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


def write_corpus(
    folder: str | Path,
    passages: Iterable[Passage],
    splits: dict[str, tuple[Iterable, Iterable]],
    source: dict[str, Any],
    *,
    max_passages: int | None = None,
    max_queries: dict[str, int] | None = None,
    cut: tuple[str, dict[str, float]] | None = None,
    dropped: Callable[[], dict[str, int]] = dict,
    expected: Expected | None = None,
    exclude_query: str | bool | dict[str, bool] = "auto",
) -> dict[str, Any]:
    """Write passages, queries and judgements as a corpus store; nothing is left behind if anything is wrong.

    Memory holds a batch of passages, 24 bytes per passage for the search for duplicate ids, and the judged queries.

    Parameters
    ----------
    folder
        Where the store goes; an older one is replaced at the very end.
    passages
        (id, title, text); a :class:`~simlm.corpus.records.Records` names files and lines in messages and can be read
        twice, which ``max_passages`` needs.
    splits
        Name → (queries as (id, text), judgements as (query id, passage id, grade)).
    source
        Facts about the origin, for the manifest.
    max_passages, max_queries, cut
        ``corpus.max_passages``, ``corpus.max_queries`` and ``corpus.partition`` of the configuration. The partition is
        made first, then queries are chosen, then passages: those relevant for splits of ``max_queries``, for other
        splits, other judged ones, the rest.
    dropped
        Counts of what the source left out by itself, asked for after all passages were read.
    expected
        Counts that the source must have before anything is left out.
    exclude_query
        ``corpus.exclude_query`` of the configuration; what follows from it for each split is in the manifest.

    Returns
    -------
    The manifest.

    Raises
    ------
    UserError
        On duplicate or malformed ids, empty queries, unexpected counts, and splits whose judgements name no passage of the corpus, with the place.
    """
    expected = expected or Expected()
    records = Records.of(passages, "passage")
    judged, places, dropped_before_cut = _read_splits(splits, max_queries or {}, cut, expected)
    chosen = None
    if max_passages is not None:
        records = records if isinstance(passages, Records) else Records.of(list(passages), "passage")
        chosen = _choose_passages(records, judged, max_passages, max_queries or {})
        _note_absent(judged, places, chosen.seen)
        for split in judged.values():
            keep_passages(split, chosen, chosen.seen)
    wanted = set().union(*(split.judged() for split in judged.values()))
    with atomic_folder(folder) as temporary:
        writer = _PassageWriter(temporary, wanted, judged)
        for n, passage in enumerate(progress(records, None, "Reading passages", unit="passages"), 1):
            writer.add(n, passage, records.where, chosen)
        facts = writer.finish(records.where)
        expected.check_passages(facts["count"] + writer.left_out)
        _note_absent(judged, places, writer.seen)
        manifest = {
            "source": source,
            "passages": facts,
            "splits": {name: _write_split(temporary, split, writer.own[name], exclude_query) for name, split in judged.items()},
            "queries_in_several_splits": _shared_queries(judged),
            "expected": {"passages": expected.passages, "queries": expected.queries},
            "dropped": {"passages_over_max": writer.left_out, **dropped_before_cut, **dropped()},
        }
        parts: list[Any] = [facts["sha256"], {name: split["sha256"] for name, split in manifest["splits"].items()}]
        excluding = sorted(name for name, split in manifest["splits"].items() if split["own_passages"]["left_out"])
        # Runs made without the queries' own passages are of another corpus than runs with them.
        manifest["sha256"] = sha256_text(json.dumps([*parts, excluding] if excluding else parts, sort_keys=True))
        write_json(temporary / MANIFEST, manifest)
    return manifest


def _read_splits(splits: dict[str, tuple[Iterable, Iterable]], max_queries: dict[str, int], cut: tuple[str, dict[str, float]] | None, expected: Expected):
    """All splits after partition and choice of queries, for each the function that names a judgement's place, and counts of a split that was cut."""
    judged: dict[str, JudgedSplit] = {}
    places: dict[str, Callable[[str, str], str]] = {}
    before: dict[str, int] = {}
    for name, (queries, qrels) in splits.items():
        judged[name], places[name] = read_split(name, queries, qrels)
        expected.check_queries(name, len(judged[name].queries))
    if cut:
        of, parts = cut
        if of not in judged:
            raise UserError(f"corpus.partition.of: there is no split '{of}'{nearest(of, judged)}")
        places |= dict.fromkeys(parts, places[of])
        before = {f"{why}_of_{of}": count for why, count in judged[of].dropped.items()}
        judged = partition(judged, of, parts)
    for name in judged:
        if set(name) - set(SPLIT_NAME):
            raise UserError(f"the split name '{name}' becomes a file name; use letters, digits, '_' and '-'")
    for name, most in max_queries.items():
        if name not in judged:
            raise UserError(f"corpus.max_queries: there is no split '{name}'{nearest(name, judged)}")
        limit_queries(judged[name], most)
    return judged, places, before


class _Chosen:
    """Ids kept by ``max_passages``: the hash decides within a tier, so that 8 bytes per passage are enough.

    Tiers: relevant for a split whose queries are limited (those numbers were asked for), relevant for another split,
    judged, the rest.
    """

    def __init__(self, judged: dict[str, JudgedSplit], limited: Container[str]) -> None:
        self.limit = 0
        self.seen: set[str] = set()
        self.tiers: dict[str, int] = {}
        for split in judged.values():
            for graded in split.qrels.values():
                for passage, grade in graded.items():
                    tier = 2 if grade < 1 else 0 if split.name in limited else 1
                    self.tiers[passage] = min(tier, self.tiers.get(passage, 3))

    def rank(self, passage_id: str) -> int:
        return (self.tiers.get(passage_id, 3) << 62) | (hash64(passage_id, "passages") >> 2)

    def __contains__(self, passage_id: str) -> bool:
        return self.rank(passage_id) <= self.limit


def _choose_passages(records: Records, judged: dict[str, JudgedSplit], most: int, limited: Container[str]) -> _Chosen:
    chosen = _Chosen(judged, limited)
    ranks = array("Q")
    for n, passage in enumerate(progress(records, None, "Choosing passages", unit="passages"), 1):
        one = clean_id(passage[0], records.where, n, "passage")
        if one in chosen.tiers:
            chosen.seen.add(one)
        ranks.append(chosen.rank(one))
    if ranks:
        order = np.frombuffer(ranks, dtype=np.uint64)
        chosen.limit = int(np.partition(order, min(most, len(order)) - 1)[min(most, len(order)) - 1])
    return chosen


def _note_absent(judged: dict[str, JudgedSplit], places: dict[str, Callable[[str, str], str]], seen: Container[str]) -> None:
    """Count judgements of passages that the corpus lacks; refuse a split of which nothing else is left."""
    for name, split in judged.items():
        absent = [(query, passage) for query, graded in split.qrels.items() for passage in graded if passage not in seen]
        split.absent = len(absent)
        if absent and len(absent) == split.judgements:
            raise UserError(
                f"the corpus has none of the {len(absent):,} passages that are judged for the split {name}, such as '{absent[0][1]}' "
                f"({places[name](*absent[0])}); do the judgements belong to this corpus?"
            )


class _PassageWriter:
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


_FEATURES = {name: {"dtype": "string", "_type": "Value"} for name in COLUMNS}


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


def _write_split(folder: Path, split: JudgedSplit, own: OwnPassages, exclude: str | bool | dict[str, bool]) -> dict[str, Any]:
    wanted = exclude.get(split.name, "auto") if isinstance(exclude, dict) else exclude
    queries = "".join(f"{query}\t{text}\n" for query, text in split.queries.items())
    qrels = "".join(_qrels_lines(split))
    for kind, name, content in (("queries", f"{split.name}.tsv", queries), ("qrels", f"{split.name}.qrels", qrels)):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / name).write_text(content, encoding="utf-8", newline="\n")
    return {
        "queries": len(split.queries),
        "judgements": split.judgements,
        "without_relevant": sum(max(graded.values()) < 1 for graded in split.qrels.values()),
        "judgements_of_absent_passages": split.absent,
        "own_passages": {"shared": own.shared, "meant": own.meant, "left_out": own.left_out(wanted)},
        "dropped": dict(sorted(split.dropped.items())),
        **({"example_without_text": split.without_text} if split.without_text else {}),
        "sha256": sha256_text(f"{len(queries)}\n{queries}{qrels}"),
    }


def _qrels_lines(split: JudgedSplit) -> Iterator[str]:
    for query, graded in split.qrels.items():
        for passage, grade in graded.items():
            yield f"{query} 0 {passage} {grade}\n"


def _shared_queries(judged: dict[str, JudgedSplit]) -> int:
    uses = Counter(query for split in judged.values() for query in split.queries)
    return sum(count > 1 for count in uses.values())
