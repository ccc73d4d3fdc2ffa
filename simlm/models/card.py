"""The model card that lies beside the weights: what the model is, how to use it, how it was made, how good it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.graph import node_of
from simlm.config.metrics import spoken_metric
from simlm.config.remote import HUB_ID
from simlm.config.stages import model_seed
from simlm.errors import UserError
from simlm.evaluation.compare import read_metrics
from simlm.evaluation.numbers import figure, interval
from simlm.files import write_text

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

    from simlm.config import Experiment
    from simlm.config.kinds.base import Card
    from simlm.context import Context

CARD = "README.md"


LICENCE = "apache-2.0"
"""Of the project, and of weights that began here."""

CODES = {
    "arabic": "ar", "armenian": "hy", "basque": "eu", "catalan": "ca", "czech": "cs", "danish": "da", "dutch": "nl", "esperanto": "eo", "estonian": "et",
    "finnish": "fi", "french": "fr", "german": "de", "greek": "el", "hindi": "hi", "hungarian": "hu", "indonesian": "id", "irish": "ga", "italian": "it",
    "lithuanian": "lt", "nepali": "ne", "norwegian": "no", "persian": "fa", "polish": "pl", "portuguese": "pt", "romanian": "ro", "russian": "ru",
    "serbian": "sr", "sesotho": "st", "spanish": "es", "swedish": "sv", "tamil": "ta", "turkish": "tr", "yiddish": "yi",
}  # fmt: skip
"""Analyzer → ISO 639-1 code of its language."""

CITATION = """
## Citation

```bibtex
@inproceedings{wang-etal-2023-simlm,
  title = {{SimLM}: Pre-training with Representation Bottleneck for Dense Passage Retrieval},
  author = {Wang, Liang and Yang, Nan and Huang, Xiaolong and Jiao, Binxing and Yang, Linjun and Jiang, Daxin and Majumder, Rangan and Wei, Furu},
  booktitle = {Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics (Volume 1: Long Papers)},
  year = {2023},
}
```
"""


def card_text(context: Context, name: str, lengths: dict[str, int], said: Mapping[str, Any] | None = None, folder: Path | None = None) -> str:
    """Markdown of the card of model ``name``; metrics are listed if it has been evaluated.

    Parameters
    ----------
    lengths
        Longest inputs in tokens, as in ``simlm.json``.
    said
        What ``simlm.json`` says of how the model reads (pooling, prompts and so on).
    folder
        Where the weights are, while the model is not finished.
    """
    experiment, settings = context.experiment, context.experiment.system(name)
    about, metrics = settings.card(said or {}), _metrics(context, name)
    usage = about.usage
    for field, value in lengths.items():
        usage = usage.replace("{" + field + "}", str(value))
    facts = card_facts(context, name, folder or context.paths.model(name), about)
    start = "\n".join(["---", facts.to_yaml(), "---", "", f"# {name} ({experiment.name})", "", about.sentence, _sizes(context, name, folder), usage])
    end = f"{metrics}{_example(context, name)}{CITATION}"
    if settings.made_by == "import_model":
        source = settings.about().partition(",")[0].replace(settings.init, f"`{settings.init}`")
        return f"{start}\n## Origin\n\nThe {source}, as it is; nothing was trained here.\n{end}"
    node = node_of(name)
    trained = (
        f"Model `{node}` of the experiment `{experiment.name}`, seed {model_seed(experiment, node)}{f' (method: {about.method})' if about.method else ''}."
    )
    block = json.dumps(experiment.models[node].model_dump(mode="json"), indent=2, ensure_ascii=False)
    return f"{start}\n## How it was made\n\n{trained}\n\nCorpus: {_corpus(context)}\n\n```json\n{block}\n```\n{end}"


def card_facts(context: Context, name: str, folder: Path, about: Card) -> ModelCardData:
    """What the Hub reads at the head of a card: licence, language, base model, task, and the results as ``model-index``.

    The licence is the project's, unless the weights go back to a model from elsewhere, whose licence then counts. The language is
    named where the configuration says it (the analyzers of BM25, or a source that is English).
    """
    from huggingface_hub import EvalResult, ModelCardData

    experiment = context.experiment
    base = _start(context, name)
    hub = base if base and HUB_ID.match(base) and not os.path.isdir(base) else None
    rows = [row for row in read_metrics(context.paths.metrics_table) if row.system == name]
    corpus = f"{experiment.name} ({experiment.corpus.source})"
    results = [
        EvalResult(
            task_type="text-ranking" if experiment.system(name).scores else "information-retrieval",
            dataset_type=experiment.corpus.source,
            dataset_name=corpus,
            dataset_split=row.split,
            metric_type=re.sub(r"\W+", "_", spoken_metric(row.metric).lower().replace("@", "_at_")).strip("_"),
            metric_name=spoken_metric(row.metric),
            metric_value=float(figure(row.value)),
        )
        for row in rows
    ]
    return ModelCardData(
        license="other" if hub else LICENCE,
        license_name=f"that of {hub}" if hub else None,
        language=_language(experiment),
        base_model=hub.partition("@")[0] if hub else None,
        library_name=about.library,
        pipeline_tag=about.task,
        tags=list(about.tags),
        model_name=f"{name} ({experiment.name})" if results else None,
        eval_results=results or None,
    )


def _start(context: Context, name: str) -> str | None:
    """The Hugging Face id or folder that a model's weights go back to; None for weights that began here."""
    seen: set[str] = set()
    current: str | None = name
    while current in context.experiment.systems and current not in seen:
        seen.add(current)
        current = context.experiment.system(current).initial() or (context.experiment.models[node_of(current)].initial() if "." in current else None)
    return current


def _language(experiment: Experiment) -> str | None:
    """ISO code of the corpus' language, where the configuration says it."""
    named = next((CODES[analyzer] for analyzer in experiment.bm25.analyzers if analyzer in CODES), None)
    english = experiment.corpus.source == "python_docs" or any(analyzer.endswith("stemmed") for analyzer in experiment.bm25.analyzers)
    return named or ("en" if english else None)


def _sizes(context: Context, name: str, folder: Path | None) -> str:
    """Parameters and dimensions in a sentence; empty where the weights are not there yet."""
    from simlm.models.size import parameters

    folder = folder or context.paths.model(name)
    count = parameters(folder)
    if not count:
        return ""
    shape, system = _read(folder / "config.json"), context.experiment.system(name)
    built = _read(context.paths.index(name) / "manifest.json").get("dimension")
    dimension = built or (system.vector_width(shape["hidden_size"], shape.get("vocab_size", 0)) if system.encodes and "hidden_size" in shape else None)
    return f"\n{count:,} parameters" + (f"; a text becomes a vector of {dimension:,} numbers" if dimension else "") + ".\n"


def _example(context: Context, name: str) -> str:
    """A query of the main split and what the model's run has on top, as it was searched; empty without a run."""
    from simlm.corpus.store import CorpusStore
    from simlm.runs.runs import read_trec_run

    split = context.experiment.evaluate.main_split
    try:
        ranking = next(iter(read_trec_run(context.paths.run(name, split))))
        store = CorpusStore(context.paths.corpus)
        titles, texts = store.texts(store.rows(ranking.ids[:3]))
        query, grades = store.queries(split)[ranking.query_id], store.qrels(split).get(ranking.query_id, {})
    except (UserError, StopIteration, KeyError, OSError):
        return ""
    lines = [f"query: {_short(query, 200)}"]
    for rank, (passage, score, title, text) in enumerate(zip(ranking.ids, ranking.scores.tolist(), titles, texts), 1):
        relevant = "  (judged relevant)" if grades.get(passage, 0) >= context.experiment.evaluate.splits[split].relevance else ""
        lines += [f"{rank}  {score:.4f}  {_short(title or passage, 90)}{relevant}", f"   {_short(text, 150)}"]
    return f"\n## A query and its answer\n\nThe first query of the split `{split}`, as this model ranked the corpus:\n\n````\n" + "\n".join(lines) + "\n````\n"


def _short(text: str, most: int) -> str:
    """Text in one line, without the fence that would end its block."""
    text = " ".join(text.replace("````", "` ` ` `").split())
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def add_card(context: Context, name: str, lengths: dict[str, int], said: Mapping[str, Any] | None = None) -> Callable[[Path], None]:
    """A function that writes the card into an unfinished model folder (``write`` of :func:`simlm.models.folder.save_model`)."""

    def write(folder: Path) -> None:
        (folder / CARD).write_text(card_text(context, name, lengths, said, folder), encoding="utf-8")

    return write


def write_card(context: Context, name: str) -> None:
    """Write the card of a finished model again, now with its metrics.

    Raises
    ------
    UserError
        If the model has not been trained.
    """
    from simlm.models.manifest import read_manifest

    folder = context.paths.model(name)
    manifest = read_manifest(folder)
    write_text(folder / CARD, card_text(context, name, manifest["lengths"], manifest))


def _corpus(context: Context) -> str:
    manifest = _read(context.paths.corpus / "manifest.json")
    source = f"`{context.experiment.corpus.source}`"
    count = manifest.get("passages", {}).get("count")
    return source if count is None else f"{source}, {count:,} passages (sha256 {manifest.get('sha256', '')[:16]})."


def _metrics(context: Context, name: str) -> str:
    """The model's figures with their intervals, and the baseline's; without the table of all systems, those of its own file."""
    evaluate, lines = context.experiment.evaluate, []
    rows = read_metrics(context.paths.metrics_table)
    for split in evaluate.splits:
        found = {(row.system, row.metric): f"{figure(row.value)} {interval(row.ci_low, row.ci_high)}" for row in rows if row.split == split}
        if (name, evaluate.main_metric) not in found:
            own = _read(context.paths.metrics(name, split)).get("metrics")
            found = {(name, metric): figure(value) for metric, value in own.items()} if isinstance(own, dict) else {}
        for system in dict.fromkeys([name, evaluate.baseline]):
            if any(one == system for one, _ in found):
                lines.append(f"| {split} | {system} | " + " | ".join(found.get((system, metric), "") for metric in evaluate.metrics) + " |")
    if not lines:
        return ""
    head = ["| split | system | " + " | ".join(map(spoken_metric, evaluate.metrics)) + " |", "|---|---|" + "---:|" * len(evaluate.metrics)]
    said = f"{evaluate.confidence * 100:g} % bootstrap intervals over queries."
    return "\n## Results\n\n" + "\n".join([*head, *lines]) + f"\n\n{said}\n"


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that may not be there yet: a card never fails for want of a figure."""
    from simlm.files import read_json

    try:
        value = read_json(path, "the stage before")
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}
