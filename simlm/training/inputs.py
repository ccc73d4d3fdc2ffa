"""What a training reads: its rule's inputs, and the files of published models, which are in the cache only when they were fetched."""

from __future__ import annotations

from pathlib import Path

from simlm.config.inputs import inputs_of
from simlm.config.jobs import Job
from simlm.config.remote import is_hub_id
from simlm.context import Context
from simlm.hub import PICKLED, SAFE, SMALL, fetch


def training_inputs(context: Context, name: str) -> dict[str, Path]:
    """Name → file for the training of model ``name``; their digests belong to its stage key.

    A model of the graph is its manifest, which holds the digest of its weights. One from outside, a local folder or a Hugging Face
    id, is every file that may be read of it: another revision, or other weights under the same name, is another training.
    """
    settings, inputs = context.experiment.models[name], inputs_of(context.experiment, context.paths, Job("train", name))
    for field in settings.outside:
        reference = getattr(settings, field, None)
        if reference and reference not in context.experiment.systems and is_hub_id(reference):
            inputs |= {f"{field}/{file.name}": file for file in _published_files(reference)}
    return inputs


def _published_files(reference: str) -> list[Path]:
    """Configuration, tokenizer and weights in the cached folder of a Hugging Face id."""
    folder = fetch(reference, "model")
    safe = any(file for pattern in SAFE for file in folder.glob(pattern))
    return sorted({file for pattern in (*SMALL, *(SAFE if safe else PICKLED)) for file in folder.glob(pattern) if file.is_file()})
