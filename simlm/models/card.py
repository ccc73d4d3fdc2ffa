"""The model card that lies beside the weights: what the model is, how to use it, how it was made, how good it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.graph import node_of
from simlm.config.stages import model_seed
from simlm.errors import UserError
from simlm.evaluation.numbers import figure
from simlm.files import write_text

if TYPE_CHECKING:
    from simlm.context import Context

CARD = "README.md"


def card_text(context: Context, name: str, lengths: dict[str, int], said: Mapping[str, Any] | None = None) -> str:
    """Markdown of the card of model ``name``; metrics are listed if it has been evaluated.

    Parameters
    ----------
    lengths
        Longest inputs in tokens, as in ``simlm.json``.
    said
        What ``simlm.json`` says of how the model reads (pooling, prompts and so on).
    """
    experiment, settings = context.experiment, context.experiment.system(name)
    about, metrics = settings.card(said or {}), _metrics(context, name)
    usage = about.usage
    for field, value in lengths.items():
        usage = usage.replace("{" + field + "}", str(value))
    head = ["---", f"library_name: {about.library}", f"pipeline_tag: {about.task}", "tags:", *(f"- {tag}" for tag in about.tags), "---"]
    start = "\n".join([*head, "", f"# {name} ({experiment.name})", "", about.sentence, usage])
    if settings.made_by == "import_model":
        source = settings.about().partition(",")[0].replace(settings.init, f"`{settings.init}`")
        return f"{start}\n## Origin\n\nThe {source}, as it is; nothing was trained here.\n{metrics}"
    node = node_of(name)
    trained = (
        f"Model `{node}` of the experiment `{experiment.name}`, seed {model_seed(experiment, node)}{f' (method: {about.method})' if about.method else ''}."
    )
    block = json.dumps(experiment.models[node].model_dump(mode="json"), indent=2, ensure_ascii=False)
    return f"{start}\n## How it was made\n\n{trained}\n\nCorpus: {_corpus(context)}\n\n```json\n{block}\n```\n{metrics}"


def add_card(context: Context, name: str, lengths: dict[str, int], said: Mapping[str, Any] | None = None) -> Callable[[Path], None]:
    """A function that writes the card into an unfinished model folder (``write`` of :func:`simlm.models.folder.save_model`)."""

    def write(folder: Path) -> None:
        (folder / CARD).write_text(card_text(context, name, lengths, said), encoding="utf-8")

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
    found = [(split, _read(context.paths.metrics(name, split))) for split in context.experiment.evaluate.splits]
    found = [(split, file["metrics"]) for split, file in found if isinstance(file.get("metrics"), dict)]
    if not found:
        return ""
    names = list(found[0][1])
    lines = ["| split | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {split} | " + " | ".join(figure(values[metric]) if metric in values else "" for metric in names) + " |" for split, values in found]
    return "\n## Results\n\n" + "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that may not be there yet: a card never fails for want of a figure."""
    from simlm.files import read_json

    try:
        value = read_json(path, "the stage before")
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}
