"""A published model is taken into the experiment: the same folder, with the same manifest, as a trained one would have."""

from __future__ import annotations

import os
from typing import Any

from simlm.config.kinds.given import GivenBiEncoder, GivenModel
from simlm.config.remote import is_hub_id
from simlm.context import Context
from simlm.models.card import add_card
from simlm.models.folder import check_length, check_vocabulary, load_encoder, load_tokenizer, load_trained_classifier, save_model


def take_over(context: Context, name: str) -> None:
    """Load the published model ``name`` as its later stages will, check it, and write ``models/<name>``.

    Weights are kept as they are (in fp32 safetensors); nothing is trained.

    Raises
    ------
    UserError
        If the model cannot be had, lacks weights (a re-ranker its head), or is too small for the configured lengths.
    """
    settings, paths = context.experiment.models[name], context.paths
    assert isinstance(settings, GivenModel)
    source = os.path.expanduser(settings.init)
    with context.record("import_model", name) as record:
        tokenizer = load_tokenizer(source)
        if isinstance(settings, GivenBiEncoder):
            model = load_encoder(source)
            lengths, extra = {"query": settings.query_length, "passage": settings.passage_length}, {}
        else:
            model = load_trained_classifier(source)
            lengths, extra = {"pair": settings.max_length}, {"untitled": settings.untitled}
        check_vocabulary(model, tokenizer, source)
        for what, length in lengths.items():
            check_length(model, length, f"models.{name}.{'max' if what == 'pair' else what}_length", source)
        given = {"init": settings.init, **_origin(source)}
        card = add_card(context, name, lengths)
        save_model(paths.model(name), model, tokenizer, kind=settings.format, key=record.key, lengths=lengths, extra={"given": given, **extra}, write=card)
        record.notes["given"] = given
        record.metrics["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        record.outputs["weights"] = paths.model(name) / "model.safetensors"


def _origin(source: str) -> dict[str, Any]:
    from simlm.hub import commit_of, fetch

    return {"commit": commit_of(fetch(source, "model"))} if is_hub_id(source) else {}
