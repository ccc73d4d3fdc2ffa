"""What a training reads, derived from its settings: the files whose digests belong to its stage key."""

from __future__ import annotations

import os
from pathlib import Path

from simlm.config.kinds import Training
from simlm.config.remote import is_hub_id
from simlm.context import Context
from simlm.hub import PICKLED, SAFE, SMALL, fetch


def training_inputs(context: Context, name: str) -> dict[str, Path]:
    """Name → file for the training of model ``name``.

    A model of the graph is its manifest, which holds the digest of its weights. One from outside, a local folder or a Hugging Face
    id, is every file that may be read of it: another revision, or other weights under the same name, is another training.
    """
    settings, paths = context.experiment.models[name], context.paths
    assert isinstance(settings, Training)
    inputs = {"corpus": paths.corpus / "manifest.json"}
    if settings.pretrained:
        inputs["tokenizer"] = paths.tokenizer / "manifest.json"
    if settings.reads_negatives():
        inputs["negatives"] = paths.negatives(settings.reads_negatives())
    if settings.reads_lexical_index():
        inputs["bm25"] = paths.bm25 / "manifest.json"
    if getattr(settings, "teacher", None):
        inputs["teacher_scores"] = paths.teacher_scores(name)
    for field in settings.outside:
        reference = getattr(settings, field)
        if reference in context.experiment.systems:
            inputs[field] = paths.model(reference) / "simlm.json"
        elif reference:
            inputs |= {f"{field}/{file.name}": file for file in outside_files(reference)}
    return inputs


def outside_files(reference: str) -> list[Path]:
    """Configuration, tokenizer and weights in a local folder or in the cached folder of a Hugging Face id; none if it does not exist."""
    folder = fetch(reference, "model") if is_hub_id(reference) else Path(os.path.expanduser(reference))
    safe = any(file for pattern in SAFE for file in folder.glob(pattern))
    patterns = [*SMALL, *(SAFE if safe else PICKLED)]
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
