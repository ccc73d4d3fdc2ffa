"""A published model is taken into the experiment: the same folder, with the same manifest, as a trained one would have."""

from __future__ import annotations

import os
from typing import Any

from simlm.config.kinds.given import GivenBiEncoder, GivenCrossEncoder, GivenModel
from simlm.config.remote import is_hub_id
from simlm.context import Context
from simlm.errors import UserError
from simlm.models.architecture import position_limit
from simlm.models.card import add_card
from simlm.models.folder import save_model
from simlm.models.loading import check_length, fit_tokenizer, load_tokenizer, load_trained_classifier
from simlm.models.manifest import MANIFEST, verified_manifest
from simlm.models.retriever import open_retriever
from simlm.models.weights import folder_of

PAIR_LENGTH = 192
"""Longest (query, passage) in tokens of a re-ranker that does not say its own (paper, section 4.1)."""


def take_over(context: Context, name: str) -> None:
    """Load the published model ``name`` as its later stages will, check it, and write ``models/<name>``.

    Weights are kept as they are (in fp32 safetensors); nothing is trained. How the model reads is what it says of itself, unless the
    configuration says otherwise.

    Raises
    ------
    UserError
        If the model cannot be had, lacks weights (a re-ranker its head), is of an architecture that is not built here, or is too
        small for the configured lengths.
    """
    settings, paths = context.experiment.models[name], context.paths
    assert isinstance(settings, GivenModel)
    source = os.path.expanduser(settings.init)
    with context.record("import_model", name) as record:
        place = f"models.{name}"
        opened = _retriever(source, settings, place) if isinstance(settings, GivenBiEncoder) else _reranker(source, settings, place)
        for what, length in opened["lengths"].items():
            check_length(opened["model"], length, f"{place}.{'max' if what == 'pair' else what}_length", source)
        given = {"init": settings.init, **origin_of(source)}
        said = {**opened["reading"].for_manifest(), "between": list(opened["between"])} if "reading" in opened else {}
        card = add_card(context, name, opened["lengths"], said)
        extra = {"given": given, **opened.pop("extra")}
        record.notes |= {"given": given, "reading": opened.pop("notes")}
        save_model(paths.model(name), kind=settings.format, key=record.key, extra=extra, write=card, **opened)
        record.metrics["parameters"] = sum(parameter.numel() for parameter in opened["model"].parameters())
        record.outputs["weights"] = paths.model(name) / "model.safetensors"


def _retriever(source: str, settings: GivenBiEncoder, place: str) -> dict[str, Any]:
    """What :func:`~simlm.models.folder.save_model` needs of a bi-encoder."""
    from simlm.progress import say

    found = open_retriever(source, settings, place)
    reading = found.reading.for_manifest()
    said = f"as its {found.said_by} says" if found.said_by else "SimLM's way, for the model says nothing of itself"
    say(f"{place} reads {', '.join(f'{key} {value!r}' for key, value in {**reading, **found.lengths}.items())}: {said}, and the configuration")
    notes = {**reading, "lengths": found.lengths, "said_by": found.said_by or "nothing: SimLM's way"}
    parts = {"model": found.encoder, "tokenizer": found.tokenizer, "reading": found.reading, "between": found.between, "lengths": found.lengths}
    return {**parts, "extra": {}, "notes": notes}


def _reranker(source: str, settings: GivenCrossEncoder, place: str) -> dict[str, Any]:
    """What :func:`~simlm.models.folder.save_model` needs of a cross-encoder."""
    folder = folder_of(source)
    own = verified_manifest(folder) if (folder / MANIFEST).is_file() else {}
    if own.get("lexical_hints") and not settings.reads_lexical_index():
        raise UserError(f"{place}: {source} reads BM25's score before each passage; set lexical_hints: true, without it its scores mean little")
    model = load_trained_classifier(source)
    tokenizer = load_tokenizer(source)
    fit_tokenizer(tokenizer, model, source)
    said = own.get("lengths", {}).get("pair", PAIR_LENGTH)
    lengths = {"pair": settings.max_length or min(said, position_limit(model.config) or said)}
    extra = {"lexical_hints": settings.reads_lexical_index(), "untitled": settings.untitled or own.get("untitled", "text")}
    return {"model": model, "tokenizer": tokenizer, "lengths": lengths, "extra": extra, "notes": {**extra, "lengths": lengths}}


def origin_of(source: str) -> dict[str, Any]:
    """The commit of a published model, for records; nothing for a folder."""
    from simlm.hub import commit_of

    return {"commit": commit_of(folder_of(source))} if is_hub_id(source) else {}
