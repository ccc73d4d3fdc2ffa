"""Writes the corpus store in one pass over the passages, checking all that later stages rely on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from simlm.corpus.chosen import choose_passages
from simlm.corpus.counts import Expected
from simlm.corpus.judged import JudgedSplit, keep_passages, limit_queries, partition, read_split
from simlm.corpus.own_passages import OwnPassages
from simlm.corpus.passage_file import PassageWriter
from simlm.corpus.records import Passage, Records
from simlm.digests import describe
from simlm.errors import UserError, nearest
from simlm.files import atomic_folder, sha256_text, write_json
from simlm.progress import progress

MANIFEST = "manifest.json"
SPLIT_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


def write_corpus(
    folder: str | Path,
    passages: Iterable[Passage],
    splits: dict[str, tuple[Iterable | None, ...]],
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
        Name → (queries as (id, text), judgements as (query id, passage id, grade)), with a third part for questions: (query id, answers). Their
        judgements may be None.
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
        chosen = choose_passages(records, judged, max_passages, max_queries or {})
        _note_absent(judged, places, chosen.seen)
        for split in judged.values():
            keep_passages(split, chosen, chosen.seen)
    wanted = set().union(*(split.judged() for split in judged.values()))
    with atomic_folder(folder) as temporary:
        writer = PassageWriter(temporary, wanted, judged)
        for n, passage in enumerate(progress(records, None, "Reading passages", unit="passages"), 1):
            writer.add(n, passage, records.where, chosen)
        facts = writer.finish(records.where)
        expected.check_passages(facts["count"] + writer.left_out)
        _note_absent(judged, places, writer.seen)
        manifest = {
            "source": source,
            "passages": facts,
            "splits": {name: write_split(temporary, split, writer.own[name], exclude_query) for name, split in judged.items()},
            "queries_in_several_splits": _shared_queries(judged),
            "expected": {"passages": expected.passages, "queries": expected.queries},
            "dropped": {"passages_over_max": writer.left_out, **dropped_before_cut, **dropped()},
        }
        write_manifest(temporary, manifest)
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Give a store that is otherwise whole its manifest, with the digest of its content."""
    parts: list[Any] = [manifest["passages"]["sha256"], {name: split["sha256"] for name, split in manifest["splits"].items()}]
    excluding = sorted(name for name, split in manifest["splits"].items() if split["own_passages"]["left_out"])
    # Runs made without the queries' own passages are of another corpus than runs with them.
    manifest["sha256"] = sha256_text(json.dumps([*parts, excluding] if excluding else parts, sort_keys=True))
    manifest["files"] = describe(folder)
    write_json(folder / MANIFEST, manifest)


def _read_splits(splits: dict[str, tuple[Iterable | None, ...]], max_queries: dict[str, int], cut: tuple[str, dict[str, float]] | None, expected: Expected):
    """All splits after partition and choice of queries, for each the function that names a judgement's place, and counts of a split that was cut."""
    judged: dict[str, JudgedSplit] = {}
    places: dict[str, Callable[[str, str], str]] = {}
    before: dict[str, int] = {}
    for name, parts in splits.items():
        judged[name], places[name] = read_split(name, *parts)
        expected.check_queries(name, len(judged[name].queries))
    if cut:
        of, shares = cut
        if of not in judged:
            raise UserError(f"corpus.partition.of: there is no split '{of}'{nearest(of, judged)}")
        places |= dict.fromkeys(shares, places[of])
        before = {f"{why}_of_{of}": count for why, count in judged[of].dropped.items()}
        judged = partition(judged, of, shares)
    for name in judged:
        if set(name) - set(SPLIT_NAME):
            raise UserError(f"the split name '{name}' becomes a file name; use letters, digits, '_' and '-'")
    for name, most in max_queries.items():
        if name not in judged:
            raise UserError(f"corpus.max_queries: there is no split '{name}'{nearest(name, judged)}")
        limit_queries(judged[name], most)
    return judged, places, before


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


def write_split(folder: Path, split: JudgedSplit, own: OwnPassages, exclude: str | bool | dict[str, bool]) -> dict[str, Any]:
    """Write queries, judgements and answers of a split into a store; returns what the manifest says of it."""
    wanted = exclude.get(split.name, "auto") if isinstance(exclude, dict) else exclude
    queries = "".join(f"{query}\t{text}\n" for query, text in split.queries.items())
    qrels = "".join(_qrels_lines(split))
    answers = "".join(json.dumps({"query": query, "answers": own}, ensure_ascii=False) + "\n" for query, own in split.answers.items())
    files = [("queries", f"{split.name}.tsv", queries)]
    files += [("qrels", f"{split.name}.qrels", qrels)] if split.qrels else []
    files += [("answers", f"{split.name}.jsonl", answers)] if answers else []
    for kind, name, content in files:
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / name).write_text(content, encoding="utf-8", newline="\n")
    return {
        "queries": len(split.queries),
        "judgements": split.judgements,
        **({"answers": sum(map(bool, split.answers.values()))} if answers else {}),
        "without_relevant": sum(max(graded.values()) < 1 for graded in split.qrels.values()),
        "judgements_of_absent_passages": split.absent,
        "own_passages": {"shared": own.shared, "meant": own.meant, "left_out": own.left_out(wanted)},
        "dropped": dict(sorted(split.dropped.items())),
        **({"example_without_text": split.without_text} if split.without_text else {}),
        "sha256": sha256_text(f"{len(queries)}\n{queries}{qrels}{answers}"),
    }


def _qrels_lines(split: JudgedSplit) -> Iterator[str]:
    for query, graded in split.qrels.items():
        for passage, grade in graded.items():
            yield f"{query} 0 {passage} {grade}\n"


def _shared_queries(judged: dict[str, JudgedSplit]) -> int:
    uses = Counter(query for split in judged.values() for query in split.queries)
    return sum(count > 1 for count in uses.values())
