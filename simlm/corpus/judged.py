"""Queries and judgements of the splits: checked, reduced to judged queries, cut into parts, sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from simlm.corpus.choice import first_by_hash, part_of
from simlm.corpus.qrels import collect
from simlm.corpus.records import Records, clean_id, clean_text
from simlm.errors import UserError, nearest


@dataclass
class JudgedSplit:
    """A split in memory: query id → text, query id → passage id → grade, and what was left out and why.

    Judgements of passages that the corpus lacks stay: they are part of the ideal ranking (trec_eval, BEIR, Pyserini).
    """

    name: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    """Empty for a split of questions that have answers instead."""
    dropped: Counter[str] = field(default_factory=Counter)
    absent: int = 0
    """Judgements of passages that the corpus lacks."""
    answers: dict[str, list[str]] = field(default_factory=dict)
    """Query id → answers, in a split of questions; some may have none."""
    without_text: str | None = None
    """Place and name of a judged query that the source has no text of, if there is one."""

    @property
    def judgements(self) -> int:
        return sum(map(len, self.qrels.values()))

    def judged(self) -> set[str]:
        """Ids of all judged passages."""
        return {passage for graded in self.qrels.values() for passage in graded}


def read_split(name: str, queries: Iterable, qrels: Iterable | None, answers: Iterable | None = None) -> tuple[JudgedSplit, Callable[[str, str], str]]:
    """Read one split and keep the judged queries, in the order of the source; where nothing is judged, those that have answers.

    Returns
    -------
    The split, and a function that names the place of the judgement of (query id, passage id).

    Raises
    ------
    UserError
        On a malformed, duplicate or empty judged query, or a split without judgements of a query that is there.
    """
    listed = _read_answers(name, answers)
    if qrels is None:
        dropped: Counter[str] = Counter()
        texts = _read_queries(name, queries, listed, dropped)
        return JudgedSplit(name, texts, {}, dropped, answers={query: listed[query] for query in texts}), lambda query, passage: f"split {name}"
    judgements = Records.of(qrels, f"judgement of split {name}")
    graded, first, dropped = collect(judgements)
    if not graded:
        raise UserError(f"the split {name} has no judgements ({judgements.where(1)}); check the name of the split")
    texts = _read_queries(name, queries, graded, dropped)
    absent = [query for query in graded if query not in texts]
    if absent:
        # Without a text they cannot be searched; other collections judge queries of other splits too.
        dropped["judged_queries_without_text"] = len(absent)
        dropped["judgements_of_queries_without_text"] = sum(len(graded[query]) for query in absent)
        example = f"{judgements.where(first[absent[0]])}: there is no query with the id '{absent[0]}'{nearest(absent[0], list(texts)[:20_000])}"
    else:
        example = None
    known = {query: listed.get(query, []) for query in texts} if answers is not None else {}
    split = JudgedSplit(name, texts, {query: graded[query] for query in texts}, dropped, answers=known, without_text=example)

    def where(query: str, passage: str) -> str:
        return next((judgements.where(n) for n, pair in enumerate(judgements, 1) if (str(pair[0]), str(pair[1])) == (query, passage)), f"split {name}")

    return split, where


def _read_answers(name: str, answers: Iterable | None) -> dict[str, list[str]]:
    """Query id → answers.

    Raises
    ------
    UserError
        At an id or an answer that is none.
    """
    found: dict[str, list[str]] = {}
    records = Records.of(answers or (), f"answers of split {name}")
    for n, (query, own) in enumerate(records, 1):
        found[clean_id(query, records.where, n, "query")] = [clean_text(answer, records.where, n, "answer") for answer in own]
    return found


def _read_queries(name: str, queries: Iterable, judged: Container[str], dropped: Counter[str]) -> dict[str, str]:
    records = Records.of(queries, f"query of split {name}")
    texts: dict[str, str] = {}
    for n, (query, text) in enumerate(records, 1):
        query = clean_id(query, records.where, n, "query")
        if query not in judged:
            dropped["unjudged_queries"] += 1
            continue
        text = " ".join(clean_text(text, records.where, n, "text of a query").split())
        if not text:
            raise UserError(f"{records.where(n)}: the query '{query}' is empty; give it a text or remove it and its judgements")
        if query in texts:
            raise UserError(f"{records.where(n)}: the query id '{query}' was used before; ids must be unique")
        texts[query] = text
    if not texts:
        raise UserError(f"the split {name} has no queries ({records.where(1)}); check that the ids of the judgements are those of the queries")
    return texts


def partition(splits: dict[str, JudgedSplit], of: str, parts: dict[str, float]) -> dict[str, JudgedSplit]:
    """Replace the split ``of`` by its parts; a hash of the query id decides. Counts of what was dropped stay with ``of``."""
    whole = splits.pop(of)
    for name in parts:
        if name in splits:
            raise UserError(f"corpus.partition: the part '{name}' has the name of a split; choose another")
    for name in parts:
        queries = {query: text for query, text in whole.queries.items() if part_of(query, parts) == name}
        if not queries:
            raise UserError(f"corpus.partition: no query of '{of}' ({len(whole.queries)} queries) falls into the part '{name}'; give it a larger share")
        splits[name] = JudgedSplit(name, queries, _of(whole.qrels, queries), answers=_of(whole.answers, queries))
    return splits


def _of(values: dict[str, Any], queries: Iterable[str]) -> dict[str, Any]:
    """Values of some queries, in their order; a split has all of them or none."""
    return {query: values[query] for query in queries if query in values}


def limit_queries(split: JudgedSplit, most: int) -> None:
    """Keep at most ``most`` queries, chosen by a hash of the id; the order stays."""
    chosen = first_by_hash(split.queries, most, "queries")
    split.dropped["queries_over_max"] += len(split.queries) - len(chosen)
    split.queries = {query: text for query, text in split.queries.items() if query in chosen}
    split.qrels, split.answers = _of(split.qrels, split.queries), _of(split.answers, split.queries)


def keep_passages(split: JudgedSplit, kept: Container[str], there: Container[str]) -> None:
    """Drop judgements of passages of the source (``there``) that were not kept, and queries that lose their last relevant passage by it."""
    for query, graded in list(split.qrels.items()):
        left = {passage: grade for passage, grade in graded.items() if passage in kept or passage not in there}
        split.dropped["judgements_of_passages_over_max"] += len(graded) - len(left)
        best, before = (max((grade for passage, grade in some.items() if passage in there), default=0) for some in (left, graded))
        if best < 1 <= before or not left:
            split.dropped["queries_without_kept_passage"] += 1
            del split.qrels[query], split.queries[query]
            split.answers.pop(query, None)
        else:
            split.qrels[query] = left
    if not split.queries:
        raise UserError(
            f"corpus.max_passages leaves no query of the split '{split.name}' a relevant passage; "
            "raise it, or set corpus.max_queries for every split (passages judged for those queries are kept first)"
        )
