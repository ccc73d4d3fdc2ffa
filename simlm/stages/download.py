"""Fetch what an experiment needs from elsewhere: the corpus, titles, published models.

    simlm download --config config/msmarco.yaml

Run it where there is a network (the workflow does so by itself, on the machine that Snakemake runs on); all other
stages then work without one. Models and data sets of Hugging Face go to its cache (HF_HOME), collections of ir_datasets
to its home (IR_DATASETS_HOME); both must be visible to the compute nodes. What is there already is not fetched again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simlm.context import Context

if TYPE_CHECKING:
    from simlm.config import Experiment


def download(context: Context) -> None:
    """Fetch everything and leave `inputs.json` and the record."""
    from simlm.config.remote import remote_inputs
    from simlm.files import write_json
    from simlm.progress import say

    experiment, paths = context.experiment, context.paths
    with context.record("download") as record:
        wanted = remote_inputs(experiment)
        found = {"models": {name: model_facts(experiment, name) for name in wanted.get("models", [])}}
        if "corpus" in wanted:
            found["corpus"] = corpus_facts(experiment)
        write_json(paths.inputs, found)
        record.notes |= found
        record.outputs["inputs"] = paths.inputs
    say(f"{paths.inputs}: everything is here." if wanted else f"'{experiment.name}' needs nothing from elsewhere.")


def model_facts(experiment: Experiment, name: str) -> dict[str, Any]:
    """Fetch a model (or the tokenizer alone, if no model starts from it); its commit and the size of its files."""
    from simlm.config.remote import generator_of
    from simlm.hub import commit_of, fetch
    from simlm.progress import say

    used = [generator_of(experiment)] + [other for model in experiment.models.values() for other in (model.initial(), *model.reads_models().values())]
    folder = fetch(name, "model" if name in used else "tokenizer", refresh=True)
    say(f"{name}: commit {commit_of(folder)}")
    return {"commit": commit_of(folder), "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}}


def corpus_facts(experiment: Experiment) -> dict[str, Any]:
    """Fetch the corpus and its titles."""
    from simlm.hub import commit_of, fetch
    from simlm.progress import say

    block = experiment.corpus
    if block.source == "hub":
        from simlm.corpus.hub import read_hub

        read_hub(block)
        return {"id": block.id, "revision": block.revision}
    from simlm.config.remote import is_hub_id
    from simlm.corpus.ir_datasets_source import fetch as fetch_collection

    facts, titles = fetch_collection(block), block.title_source()
    if titles and is_hub_id(titles):
        folder = fetch(titles, "dataset", refresh=True)
        facts["titles"] = {"id": titles, "commit": commit_of(folder)}
        say(f"{titles}: commit {commit_of(folder)}")
    return facts
