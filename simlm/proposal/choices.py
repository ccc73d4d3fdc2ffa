"""What follows from the data and the start: the graph of models and the settings of each, with a reason for every one.

Rates, temperatures and lengths of a training follow from the kind of start. A rate of 2e-3, right for a small model from scratch, takes a published
encoder from a reciprocal rank of 0.94 on held-out queries down to 0.56; one that is finished as a retriever needs less still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from simlm.config.kinds.bm25 import LANGUAGES
from simlm.proposal.base import Base
from simlm.proposal.data import Data
from simlm.proposal.text import Said

FEW, MANY = 30, 10_000
"""Fewest training queries that are worth a training, and from how many on few passes are enough."""


@dataclass(frozen=True)
class Recipe:
    """How a kind of start is trained.

    Attributes
    ----------
    passes
        Most passes over a small set of queries, and over a large one.
    """

    rate: float
    why: str
    temperature: float
    passes: tuple[int, int]
    dropout: float | None


RECIPES = {
    "scratch": Recipe(2e-3, "a small model that has never been trained needs a high rate", 0.05, (20, 4), 0.15),
    "encoder": Recipe(5e-5, "usual for a published encoder; at 2e-3 it forgets what it knows", 0.05, (12, 3), None),
    "retriever": Recipe(2e-5, "the start retrieves already, so that it has to learn little and has much to lose", 0.05, (8, 2), None),
}

CROSSENCODER_RATE = {"scratch": 1e-3, "encoder": 5e-5, "retriever": 5e-5}
"""The head of a re-ranker starts anew, so that it takes more than a finished retriever."""

PRETRAINED = 64
"""Tokens of a passage that a pre-training from scratch reads."""

SMALL = {"layers": 1, "hidden": 384, "heads": 12, "intermediate": 384, "dropout": 0.0}
"""Shape of a base from scratch: one wide layer was best for its time on two cores (docs/experiments.md)."""
SMALLER = {"layers": 2, "hidden": 48, "heads": 2, "intermediate": 192, "dropout": 0.0}


@dataclass(frozen=True)
class Plan:
    """What the budget decides.

    Attributes
    ----------
    steps
        Model → steps of its training.
    reranker
        Whether a re-ranker and a retriever that it teaches are worth their time.
    notes
        Model → what the budget means for it, in words.
    """

    query: int
    passage: int
    hard: int
    batch: int
    steps: dict[str, int]
    reranker: bool
    notes: dict[str, str]


def trained(base: Base, plan: Plan, data: Data) -> list[str]:
    """Names of the models that are trained, in order."""
    if not enough(data):
        return []
    first = ["base", "generator", "simlm"] if base.start == "scratch" else []
    return [*first, "retriever", *(["reranker", "distilled"] if plan.reranker else [])]


def enough(data: Data) -> bool:
    """Whether there are training queries to speak of."""
    return data.train is not None and data.train.queries >= FEW


def most_steps(base: Base, data: Data, batch: int) -> int:
    """Steps beyond which the training queries have nothing more to say."""
    queries = data.train.queries if data.train else 0
    small, large = RECIPES[base.start].passes
    passes = large if queries >= MANY else small if queries <= 1_000 else round(small + (large - small) * math.log10(queries / 1_000))
    return max(1, math.ceil(0.9 * queries * passes / batch))


def rounded(tokens: float, multiple: int, least: int, most: int) -> int:
    """A length in tokens.

    >>> rounded(37, 8, 16, 64), rounded(300, 16, 32, 256), rounded(3, 8, 16, 64)
    (40, 256, 16)
    """
    return max(least, min(most, multiple * math.ceil(tokens / multiple)))


def graph(data: Data, base: Base, plan: Plan, cores: int, gpus: int) -> dict[str, Any]:
    """The ``models:`` of the configuration."""
    given: dict[str, Any] = {"threads": cores} | ({"gpus": gpus} if gpus else {})
    models: dict[str, Any] = {}
    lengths = {
        "query_length": Said(plan.query, f"queries have {data.query_tokens[50]} tokens in the middle and {data.query_tokens[99]} or fewer in 99 of 100"),
        "passage_length": Said(plan.passage, plan.notes["passage"]),
    }
    if base.start == "retriever":
        models["base"] = Said(
            {"kind": "given_biencoder", "init": base.reference, **lengths, **given},
            f"The start as it was published ({_size(base)}, pooling {base.pooling}), judged untouched: whatever is made of it has to be better",
        )
    if base.start == "scratch":
        models |= _from_scratch(data, base, plan, given)
    source = _partner(data, base)
    if source == "candidates":
        which = "BM25 and the start together" if data.made else "The better of BM25 and the start, or both together, as training queries say"
        models["candidates"] = Said(
            {"kind": "fusion", "of": ["bm25", "base"], "by": "scores", **_weights(data)},
            f"{which}: hard negatives" + (" and the passages to re-rank" if plan.reranker else "") + " come from here",
        )
    if not enough(data):
        return _untrained(models, base, data)
    start = {"retriever": "base", "encoder": base.reference, "scratch": "simlm"}[base.start]
    models["retriever"] = _retriever(data, base, plan, start, source, {**lengths, **given})
    best = "retriever"
    if plan.reranker:
        models["reranker"] = _reranker(base, plan, start, source, given)
        taught = _retriever(data, base, plan, "retriever", "retriever", {**lengths, **given}, name="distilled")
        taught.value["teacher"] = Said("reranker", "it reads query and passage together, and hands on what it sees")
        models["distilled"], best = taught, "distilled"
    parts = [best, *(["base"] if base.start == "retriever" else []), "bm25"]
    weighed = "each with the same weight: made queries stand in their passages, so that they would choose BM25" if data.made else (
        "weighed on training queries that nothing was trained on"
    )  # fmt: skip
    models["fusion"] = Said(
        {"kind": "fusion", "of": parts, "by": "scores", **_weights(data)}, f"Usually the best of all: what meaning and words find together, {weighed}"
    )
    return models


def _weights(data: Data) -> dict[str, Any]:
    return {} if data.made else {"weights": "auto"}


def _untrained(models: dict[str, Any], base: Base, data: Data) -> dict[str, Any]:
    """What is left where nothing can be fine-tuned."""
    kept = {name: block for name, block in models.items() if name == "base" and base.start == "retriever"}
    if kept:
        fused = {"kind": "fusion", "of": ["base", "bm25"], "by": "scores", **({"weights": "auto"} if data.train else {})}
        kept["fusion"] = Said(fused, "What meaning and words find together")
    return kept


def _partner(data: Data, base: Base) -> str:
    return "candidates" if base.start == "retriever" and enough(data) else "bm25"


def _size(base: Base) -> str:
    return f"{base.millions:.0f} million parameters"


def _training(data: Data, base: Base, plan: Plan, name: str, rate: float, why: str) -> dict[str, Any]:
    steps = plan.steps[name]
    queries = data.train.queries if data.train else 0
    passes = steps * plan.batch / max(1.0, 0.9 * queries)
    return {
        "steps": Said(steps, f"{plan.notes[name]}; {passes:.1f} passes over the {queries:,} training queries"),
        "batch_size": plan.batch,
        "learning_rate": Said(rate, why),
        "warmup_steps": Said(max(1, steps // 10), "a tenth"),
    }


KEPT = (
    "the weights that did best on held-out training queries are exported, those of the start among them; a judged split is never looked at. The training "
    "ends after four looks without a better one"
)


def _kept(data: Data) -> dict[str, Any]:
    queries = data.train.queries if data.train else 0
    held = min(100, queries // 10)
    return {"holdout": Said(max(held, 1), f"of {queries:,} training queries"), "keep": Said("best", KEPT), "patience": 4}


def _retriever(data: Data, base: Base, plan: Plan, start: str, source: str, own: dict[str, Any], name: str = "retriever") -> Said:
    recipe = RECIPES["retriever" if name == "distilled" else base.start]
    rate = min(recipe.rate, RECIPES[base.start].rate) if base.start != "scratch" else (1e-3 if name == "distilled" else recipe.rate)
    block: dict[str, Any] = {"kind": "biencoder", "init": start}
    if base.start == "retriever" and name == "retriever":
        block["init"] = Said(
            start,
            "straight from the finished retriever: pooling, prompts and titles stay as they are. Pre-training (kind: bottleneck) is left out: it trains the "
            "first token, where such a model keeps nothing, and undoes what its vectors know",
        )
    elif base.start == "encoder" and name == "retriever":
        block["init"] = Said(
            start,
            "straight from the encoder. Pre-training on your passages (kind: bottleneck, docs/experiments.md) pays from thousands of steps on, which this "
            "budget does not have" + ("" if base.head else "; nor has the encoder a head for masked words, which it would need"),
        )
    block["negatives"] = source
    block["hard_negatives"] = Said(plan.hard, "beside the other queries' passages; each costs a passage more per query and step")
    if data.made:
        block["hide_query"] = Said(0.9, "the training reads a passage without the query that was made of it, or it would learn to find equal words")
    block |= _training(data, base, plan, name, rate, recipe.why)
    block["temperature"] = recipe.temperature
    dropout = RECIPES[base.start].dropout
    block["dropout"] = Said(dropout, "a small model with few queries learns them by heart" if dropout else "null: what the start's own configuration says")
    about = {"retriever": "What training makes of the start", "distilled": "The same, taught by the re-ranker"}[name]
    return Said({**block, **own, **_kept(data)}, about)


def _reranker(base: Base, plan: Plan, start: str, source: str, own: dict[str, Any]) -> Said:
    most = min(base.positions, plan.query + plan.passage)
    steps = plan.steps["reranker"]
    block = {
        "kind": "crossencoder",
        "init": start,
        "negatives": source,
        "rerank": source,
        "rerank_depth": Said(50 if own.get("gpus") else 20, "deeper costs a pair each, for every query that is judged"),
        "hard_negatives": 7,
        "forward_factor": 1,
        "rdrop_weight": 0.0,
        "steps": Said(steps, plan.notes["reranker"]),
        "batch_size": plan.batch,
        "learning_rate": Said(CROSSENCODER_RATE[base.start], "its head starts anew"),
        "warmup_steps": max(1, steps // 10),
        "lexical_hints": Said(True, "a small re-ranker starts from what BM25 knows"),
        "max_length": most,
        "keep": "best",
        **own,
    }
    return Said(block, "Sorts what was found, and teaches")


def _from_scratch(data: Data, base: Base, plan: Plan, own: dict[str, Any]) -> dict[str, Any]:
    positions = max(64, 2 ** math.ceil(math.log2(max(plan.passage, plan.query))))
    read = Said(min(PRETRAINED, plan.passage), "pre-training reads the beginnings, and so sees more passages in its time")
    about = {"base": "The base model, trained on your passages alone. A published encoder is better by far: simlm new --base FOLDER or owner/name",
             "generator": "Proposes the replacements that the pre-training learns to find"}  # fmt: skip
    models: dict[str, Any] = {}
    for name, shape, rate, masked in (("base", SMALL, 1.5e-3, 0.3), ("generator", SMALLER, 3e-3, 0.4)):
        steps = plan.steps[name]
        block = {"kind": "mlm", "size": {**shape, "positions": positions}, "mask_probability": masked, "steps": Said(steps, plan.notes[name]), "batch_size": 64}
        block |= {"learning_rate": rate, "warmup_steps": max(1, steps // 10), "weight_decay": 0.01, "max_length": read, **own}
        models[name] = Said(block, about[name])
    steps = plan.steps["simlm"]
    probe = {"split": data.dev, "every_steps": max(1, steps // 4), "queries": 200, "passages": 2000} if data.dev else None
    simlm = {"kind": "bottleneck", "init": "base", "generator": "generator", "steps": Said(steps, plan.notes["simlm"]), "batch_size": 64, "learning_rate": 1e-3}
    simlm |= {
        "warmup_steps": max(1, steps // 10),
        "decoder_layers": 1,
        "max_length": read,
        "label_fraction": 0.25,
        "holdout": 256,
        "probe": probe,
        **own,
    }
    models["simlm"] = Said(simlm, "SimLM's pre-training: the first token learns to stand for the passage")
    return models


def analyzers(data: Data) -> Said:
    """Tokenisations for BM25."""
    if data.code:
        names, why = ["stemmed", "split_names", "split_names_stemmed"], "the passages hold code: names are cut into their parts"
    elif data.language in ("english", None):
        names, why = ["stemmed", "words"], "English" if data.language else "the language was not recognised: look at docs/languages.md"
    elif data.language in LANGUAGES:
        names, why = [data.language, "words"], f"{data.language.capitalize()}"
    else:
        names, why = ["words"], "a script without an own stemmer: words, or pairs of letters where words have no borders"
    if len(names) > 1 and not data.dev:
        return Said(names[:1], why + "; one, because there is no split dev to choose on")
    return Said(names, why + ("; the better one on dev is kept" if len(names) > 1 else ""))
