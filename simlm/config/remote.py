"""What an experiment needs from elsewhere: Hugging Face repositories and collections that are fetched before the first job."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simlm.config.experiment import Experiment

HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is ``owner/name`` or ``owner/name@revision`` and no folder is called so.

    >>> is_hub_id("google-bert/bert-base-uncased@main"), is_hub_id("./owner/name"), is_hub_id("retriever1")
    (True, False, False)
    """
    return bool(HUB_ID.match(name)) and not name.startswith((".", "/", "~")) and not os.path.isdir(name)


def generator_of(experiment: Experiment) -> str | None:
    """The model that makes queries of the passages, if one does."""
    made = experiment.corpus.made_queries
    return made.generator.init if made and made.generator else None


def hub_models(experiment: Experiment) -> list[str]:
    """Hugging Face ids of the model that makes queries, of the tokenizer and of all models that the graph starts from, in the order of the file."""
    names = [generator_of(experiment), experiment.tokenizer.init]
    for model in experiment.models.values():
        names += [model.initial(), *model.reads_models().values()]
    return [name for name in dict.fromkeys(filter(None, names)) if name not in experiment.models and is_hub_id(name)]


def remote_inputs(experiment: Experiment) -> dict[str, Any]:
    """Models and corpus that must be fetched; empty if everything is at hand.

    Nothing is asked over the network: the configuration says it all.
    """
    block, found = experiment.corpus, {}
    if models := hub_models(experiment):
        found["models"] = models
    if block.source == "ir_datasets":
        found["corpus"] = {"passages": block.passages, "splits": block.splits, "titles": block.title_source()}
        found["corpus"] |= {"questions": block.questions} if block.questions else {}
    elif block.source == "hub" and is_hub_id(block.id):
        found["corpus"] = {"id": block.id, "revision": block.revision, "qrels": block.qrels}
    return found
