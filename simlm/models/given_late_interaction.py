"""A published late-interaction model is taken into the experiment: the same folder, with the same manifest, as a trained one would have."""

from __future__ import annotations

import os
from pathlib import Path

from simlm.config.kinds import GivenLateInteraction
from simlm.context import Context
from simlm.errors import UserError
from simlm.models.card import add_card
from simlm.models.folder import save_model
from simlm.models.given import origin_of
from simlm.models.loading import check_length
from simlm.models.token_retriever import ENTRY, METADATA, open_token_retriever
from simlm.progress import say


def take_over(context: Context, name: str) -> None:
    """Load the published model ``name`` as its later stages will, check it, and write ``models/<name>``; nothing is trained.

    Raises
    ------
    UserError
        If the model cannot be had, has no projection, is of an architecture that is not built here, or is too small for the configured lengths.
    """
    settings, paths = context.experiment.models[name], context.paths
    assert isinstance(settings, GivenLateInteraction)
    source, place = os.path.expanduser(settings.init), f"models.{name}"
    with context.record("import_model", name) as record:
        opened = open_token_retriever(source, settings)
        if opened.said_by is None:
            raise UserError(
                f"{place}: {source} has no projection to vectors of tokens (no architecture HF_ColBERT in its config.json, no {METADATA}): it is an encoder; "
                "train a model that starts from it"
            )
        for side, length in opened.lengths.items():
            check_length(opened.encoder, length, f"{place}.{side}_length", source)
        said = opened.entry()[ENTRY]
        say(f"{place} reads {', '.join(f'{key} {value!r}' for key, value in {**said, **opened.lengths}.items())}: as its {opened.said_by} says")
        given = {"init": settings.init, **origin_of(source)}
        record.notes |= {"given": given, "reading": {**said, "lengths": opened.lengths, "said_by": opened.said_by}}
        card = add_card(context, name, opened.lengths, opened.entry())

        def write(folder: Path) -> None:
            opened.write(folder)
            card(folder)

        extra = {"given": given, **opened.entry()}
        save_model(paths.model(name), opened.encoder, opened.tokenizer, kind=settings.format, key=record.key, lengths=opened.lengths, extra=extra, write=write)
        record.metrics["parameters"] = sum(parameter.numel() for part in (opened.encoder, opened.projection) for parameter in part.parameters())
        record.outputs["weights"] = paths.model(name) / "model.safetensors"
