"""The whole configuration of a folder, as commented YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from simlm.config import Experiment, validate
from simlm.config.corpora import MadeQueries
from simlm.proposal.base import Base
from simlm.proposal.budget import LEAST_PAIRS, Fit, fit, minutes
from simlm.proposal.choices import Plan, analyzers, enough, graph
from simlm.proposal.data import FEWEST, Data, SplitFacts
from simlm.proposal.text import Said, plain, render

GRADED = 3
"""A split with grades up to this and above is judged as TREC's deep-learning track is: 2 counts as relevant."""


NEGATIVES = {
    "depth": 50,
    "sample": 30,
    "pad_to": 32,
    "drop_above": Said(0.95, "passages scored nearly as high as the best right answer are probably right answers that nobody judged; they are no negatives"),
}


@dataclass(frozen=True)
class Proposal:
    """A configuration."""

    text: str
    experiment: Experiment
    fit: Fit


def propose(data: Data, base: Base, name: str, budget: float, cores: int, gpus: int, reranker: bool = True) -> Proposal:
    """The configuration for a folder and a start; it is valid."""

    def blocks(plan: Plan) -> dict[str, Any]:
        return configuration(data, base, plan, name, cores, gpus)

    reranker = reranker and not data.made
    found = fit(data, base, budget, cores, gpus, reranker, lambda plan: validate(plain(blocks(plan))))
    values = blocks(found.plan)
    return Proposal(header(data, base, found, budget, cores, gpus, reranker) + render(values), validate(plain(values)), found)


def name_of(folder: str) -> str:
    """A name for the experiment.

    >>> name_of("data/My corpus!"), name_of("/")
    ('My-corpus', 'corpus')
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", re.split(r"[/\\]", folder.rstrip("/\\"))[-1]).strip("-_") or "corpus"


TRAINED_ON = "the only split there is: its figures are of queries that were trained on; cut it with corpus.partition, or add judgements of others"
"""Where nothing but a split ``train`` is there."""


def configuration(data: Data, base: Base, plan: Plan, name: str, cores: int, gpus: int) -> dict[str, Any]:
    """All blocks, each value that was chosen with its reason."""
    models = graph(data, base, plan, cores, gpus)
    judged = {split: _judged(facts) for split, facts in data.splits.items() if split != "train"} or {"train": Said({}, TRAINED_ON)}
    systems = ["bm25", *(model for model, block in models.items() if plain(block)["kind"] not in ("mlm", "bottleneck"))]
    main = "test" if "test" in judged else next((split for split in judged if split != "dev"), next(iter(judged)))
    facts = data.splits[main]
    metric = "nDCG@10" if facts.grades > 1 or facts.per_query > 1.5 else "RR@10"
    block = data.block.model_dump(mode="json", exclude_defaults=True)
    return {
        "name": name,
        "corpus": block | {"source": data.block.source, "splits": Said(data.block.splits, _splits(data)), **_made(data)},
        "tokenizer": _tokenizer(data, base),
        "bm25": {"analyzers": analyzers(data), **({"select_on": data.dev} if data.dev else {})},
        **({"negatives": NEGATIVES} if enough(data) else {}),
        "models": models,
        "encoding": {"shards": 1, "threads": cores, **({"gpus": gpus} if gpus else {})},
        "evaluate": {
            "systems": Said(systems, "every system is tested against BM25 and against what it was made of"),
            "splits": judged,
            "main_split": main,
            "main_metric": Said(metric, f"{facts.per_query:.1f} relevant passages per query" + (f", grades up to {facts.grades}" if facts.grades > 1 else "")),
            "metrics": ["nDCG@10", "RR@10", "R@100", "AP"],
            "depth": 100,
        },
    }  # fmt: skip


def _judged(facts: SplitFacts) -> Any:
    if facts.grades >= GRADED:
        return Said(
            {"relevance": 2}, f"{facts.queries:,} queries, grades up to {facts.grades}: from 2 on a passage answers the query, as in TREC's deep-learning track"
        )
    return Said(
        {}, f"{facts.queries:,} queries with {facts.per_query:.1f} relevant passages each" + (f", grades up to {facts.grades}" if facts.grades > 1 else "")
    )


WORTH = (
    "they ask as the passages are written and not as people ask, so that what they teach is worth less than a few hundred judged queries, and may be worth "
    "nothing: look whether the retriever is above its start and BM25 (docs/own-data.md)"
)
"""What made queries are worth, in a sentence."""


def _made(data: Data) -> dict[str, Any]:
    made = data.made
    if made is None:
        return {}
    what = {"title": "the title of a passage is its query", "first_sentence": "the first sentence of a passage is its query"}[made.query]
    why = f"there are no training queries, so that {what}, where BM25 finds the passage again with it; {WORTH}"
    return {"made_queries": Said(made.model_dump(mode="json", include={"query", "parts", "found_within"}), why)}


def _splits(data: Data) -> str:
    judged = {name: facts for name, facts in data.splits.items() if name in data.block.splits}
    said = [f"{name}: {facts.queries:,} queries, {facts.judgements:,} judgements" for name, facts in judged.items()]
    if own := [name for name, facts in data.splits.items() if facts.own > facts.queries / 2]:
        said.append(f"in {' and '.join(own)} queries are passages themselves, and are left out of their own results")
    return "; ".join([*said, *(f"left out: {sentence}" for sentence in data.left_out)])


MOST_FOREIGN = 0.5
"""Share of the words that a start's vocabulary may not know; a start that knows fewer has not learned the language."""


def _unknown_words(data: Data) -> str:
    """A sentence where the start does not know the language, or nothing."""
    if data.foreign <= MOST_FOREIGN:
        return ""
    return (
        f"{data.foreign:.0%} of the passages' words are not in the start's vocabulary, or letter by letter alone, so that it has not learned this language; "
        "take a start of the corpus' language (--base, docs/languages.md)"
    )


def _tokenizer(data: Data, base: Base) -> Any:
    if base.reference:
        return {"init": Said(base.reference, "; ".join(filter(None, ["the vocabulary of the start", _unknown_words(data)])))}
    size = 4096 if data.passages < 50_000 else 8192
    return {"vocabulary": Said(size, "trained on the passages"), "split_names": Said(data.code, "the passages hold code" if data.code else "no code")}


def _no_train(data: Data) -> str:
    if max(data.fit.values()) >= FEWEST:
        return "there is no split train."
    fewest, most = MadeQueries().words
    return (
        f"there is no split train, and hardly a passage has a title or a first sentence of {fewest} to {most} words beside its text, of which queries could be "
        "made (corpus.made_queries.words)."
    )


def header(data: Data, base: Base, found: Fit, budget: float, cores: int, gpus: int, reranker: bool) -> str:
    """What was seen and what it will take, as comments."""
    machine = f"{cores} cores" + (f" and {gpus} GPU" if gpus else "")
    language = {"": "a script without borders or stems", None: "a language that was not recognised"}.get(data.language, str(data.language).capitalize())
    start = {
        "scratch": "no base was given, so that everything is trained on these passages alone; with a published encoder (--base) the figures are far better",
        "encoder": f"{base.reference}, a pre-trained encoder of {base.millions:.0f} million parameters",
        "retriever": f"{base.reference}, a finished retriever of {base.millions:.0f} million parameters, pooling {base.pooling}",
    }[base.start]
    lines = [
        "Written by `simlm new`; every choice can be changed here.",
        f"Data:   {data.passages:,} passages{' (of which the first were looked at)' if data.partly else ''} of {data.tokens[50]} tokens in the middle "
        f"({data.tokens[95]} at the 95th percentile), {data.titled:.0%} with a title, {'code' if data.code else 'prose'}, {language}.",
        f"Start:  {start}.",
        f"Budget: {minutes(budget)}; `simlm plan` foretells {minutes(found.wall)} on {machine}.",
    ]  # fmt: skip
    if found.wall > 1.1 * budget:
        lines.append("        That is more than the budget: a smaller base, fewer passages (corpus.max_passages) or a larger budget would help.")
    if not data.judged:
        lines.append(f"Caution: train is {TRAINED_ON}.")
    if unknown := _unknown_words(data):
        lines.append(f"Caution: {unknown}.")
    if data.made:
        lines.append(f"Training queries are made of the passages ({data.made.query}), because there are none: {WORTH}. --no-made-queries leaves them out.")
    if not enough(data):
        lines.append("No fine-tuning: " + (_no_train(data) if data.train is None else f"{data.train.queries} training queries are too few to learn from."))
    elif data.made:
        lines.append("No re-ranker: reading query and passage together, it would learn that the query stands in the passage.")
    elif not reranker:
        lines.append("No re-ranker, as was asked for.")
    elif not found.plan.reranker:
        why = "a model from scratch teaches none" if base.start == "scratch" else f"in its share of the time it would see fewer than the {LEAST_PAIRS:,} pairs"
        lines.append(f"No re-ranker: {why}" + ("." if base.start == "scratch" else " from which on it knows more than the lists that it sorts."))
    return "".join(f"# {line}\n" for line in lines)
