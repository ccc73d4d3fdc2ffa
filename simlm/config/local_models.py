"""What a model in a local folder says of itself, read without transformers: architecture, positions, width of its vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simlm.config.architectures import POSITIONS_FROM_PADDING
from simlm.config.experiment import Experiment

MODULES = "modules.json"


def start_of(experiment: Experiment, name: str) -> tuple[Any, str]:
    """Where the weights of a model come from in the end: the shape of one made from scratch, or None, and the name of one outside, or nothing."""
    seen: set[str] = set()
    while name in experiment.systems and name not in seen:
        seen.add(name)
        model = experiment.system(name)
        if (size := getattr(model, "size", None)) is not None:
            return size, ""
        name = model.weights_from() or ""
    return None, "" if name in experiment.systems else name


def configuration(folder: str | Path) -> dict[str, Any]:
    """``config.json`` of a local folder; empty if there is none that can be read."""
    found = said_in(Path(folder).expanduser() / "config.json") if folder else None
    return found if isinstance(found, dict) else {}


def architecture_of(experiment: Experiment, name: str) -> str | None:
    """``model_type`` of the model that another starts from in the end, as far as the configuration and local folders tell."""
    size, start = start_of(experiment, name)
    kind = "bert" if size is not None else configuration(start).get("model_type")
    return kind if isinstance(kind, str) else None


def positions_of(experiment: Experiment, name: str) -> int | None:
    """Longest input of a model in tokens, as far as the configuration and local folders tell."""
    size, start = start_of(experiment, name)
    return size.positions if size is not None else positions_in(start)


def positions_in(folder: str) -> int | None:
    """Longest input of the model in a local folder, as its ``config.json`` says."""
    about = configuration(folder)
    limit, padding = about.get("max_position_embeddings", about.get("n_positions")), about.get("pad_token_id")
    if not isinstance(limit, int) or limit <= 0:
        return None
    offset = padding + 1 if about.get("model_type") in POSITIONS_FROM_PADDING and isinstance(padding, int) else 0
    return limit - offset


def width_of(experiment: Experiment, name: str) -> int | None:
    """Numbers of a retriever's vector, as far as the configuration and local folders tell.

    Vectors of several poolings stand one behind the other, and modules behind the pooling may have another width; a training keeps them.
    """
    size, start = start_of(experiment, name)
    about = configuration(start)
    width = size.hidden if size is not None else next((about[key] for key in ("hidden_size", "dim", "n_embd", "d_model") if key in about), None)
    if not isinstance(width, int) or width <= 0:
        return None
    folder = Path(start).expanduser()
    pooling = _poolings_set(experiment, name) or (_poolings(folder) if start else 1)
    width *= pooling
    for place in _modules(folder) if start else ():
        behind = said_in(place / "config.json")
        wider = behind.get("out_features") if isinstance(behind, dict) else None
        width = wider if isinstance(wider, int) and wider > 0 else width
    width = experiment.system(name).vector_width(width, experiment.tokenizer.vocabulary if size is not None else about.get("vocab_size", 0))
    cut = said_in(folder / "config_sentence_transformers.json") if start else None
    cut = cut.get("truncate_dim") if isinstance(cut, dict) else None
    return min(width, cut) if isinstance(cut, int) and cut > 0 else width


def _poolings_set(experiment: Experiment, name: str) -> int | None:
    """Number of poolings that the configuration sets, for the model itself or for the nearest that it starts from."""
    seen: set[str] = set()
    while name in experiment.systems and name not in seen:
        seen.add(name)
        model = experiment.system(name)
        if (pooling := getattr(model, "pooling", None)) is not None:
            return 1 if isinstance(pooling, str) else len(pooling)
        name = model.weights_from() or ""
    return None


def _poolings(folder: Path) -> int:
    """Number of poolings that our own manifest or sentence-transformers' files name."""
    ours = said_in(folder / "simlm.json")
    if isinstance(ours, dict) and "pooling" in ours:
        return len(ours["pooling"]) if isinstance(ours["pooling"], list) else 1
    settings = said_in(folder / "1_Pooling" / "config.json")
    if not isinstance(settings, dict):
        return 1
    named = settings.get("pooling_mode", [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True])
    return 1 if isinstance(named, str) else max(1, len(named))


def _modules(folder: Path) -> list[Path]:
    """Folders of modules behind the pooling."""
    listed = said_in(folder / MODULES)
    if not isinstance(listed, list):
        return sorted(folder.glob("[2-9]_*"))
    places = [entry.get("path") for entry in listed if isinstance(entry, dict)]
    return [folder / place for place in places[2:] if isinstance(place, str)]


def said_in(file: Path) -> Any:
    """What a file of JSON holds; None if there is none that can be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
