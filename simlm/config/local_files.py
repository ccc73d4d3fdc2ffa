"""Files outside the experiment's folder that its jobs read: local corpora, and models or tokenizers in folders."""

from __future__ import annotations

from pathlib import Path

from simlm.config.experiment import Experiment
from simlm.config.remote import is_hub_id
from simlm.hub import PICKLED, SAFE, SMALL, What, data_files

MODULES = ("[0-9]_*/*.json", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin", "[0-9]_*/vocab.txt")
"""Files of sentence-transformers' modules beside the weights of a model."""


def model_files(folder: Path, what: What = "model") -> list[Path]:
    """Files that may be read of a model or a tokenizer: configuration, vocabulary and, of a model, weights; none if there is no such folder."""
    weights = () if what == "tokenizer" else (*(SAFE if any(next(folder.glob(pattern), None) for pattern in SAFE) else PICKLED), *MODULES)
    return sorted({file for pattern in (*SMALL, *weights) for file in folder.glob(pattern) if file.is_file()})


def corpus_files(experiment: Experiment) -> list[Path]:
    """Files of a local source, so that new data reruns what follows from it; a missing one is the stage's to report."""
    block, found = experiment.corpus, []
    match block.source:
        case "beir":
            folder = Path(block.path).expanduser()
            patterns = ["corpus.jsonl*", "queries.jsonl*", *(f"qrels/{stem}.*" for stem in block.splits.values())]
            found = [file for pattern in patterns for file in folder.glob(pattern)]
        case "hub" if not is_hub_id(block.id):
            folder = Path(block.id).expanduser()
            found = [file for name in (block.passages, block.queries) for pattern in (f"{name}.*", f"{name}/*") for file in folder.glob(pattern)]
            judged = Path(block.qrels).expanduser() if block.qrels else folder
            if judged.is_dir():
                found += (judged / "qrels" if block.qrels is None or (judged / "qrels").is_dir() else judged).glob("*")
        case "ir_datasets" if (titles := block.title_source()) and not is_hub_id(titles):
            found = data_files(Path(titles).expanduser())
    return sorted({file for file in found if file.is_file() and not file.name.startswith(".")})
