"""Values that no type can refuse, but that files and libraries at hand already show to be wrong; without a network.

Asked before the first job, by ``simlm check`` and by the workflow, and not when results are read: a folder may have moved since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from simlm.config.architectures import why_no_decoder
from simlm.config.corpora import BeirFolder, HubDataset
from simlm.config.experiment import Experiment
from simlm.config.graph import GraphError, node_of
from simlm.config.local_models import architecture_of, positions_of, said_in, width_of
from simlm.config.metrics import beyond
from simlm.config.remote import HUB_ID, generator_of
from simlm.errors import UserError, nearest
from simlm.lines import numbered_lines

LENGTHS = ("query_length", "passage_length", "max_length")

STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""What MLflow's address may begin with; databases may name a driver (``postgresql+psycopg2``)."""

COUNTED = 400_000
"""Lines of a corpus that are counted at most for a caution, so that the check stays quick."""

USUAL_WIDTH = 768
"""Numbers of a vector where the model's own width is not known yet."""


def cautions(experiment: Experiment) -> Iterator[str]:
    """Sentences about what is no mistake but probably not meant.

    Raises
    ------
    GraphError
        At the first value that cannot work, with its place.
    """
    for name in experiment.models:
        for field, sentence in experiment.models[name].mistakes():
            raise GraphError(("models", name, field), sentence)
        yield from _start(experiment, name)
        yield from _unjudged(experiment, name)
        _check_decoder(experiment, name)
    for name in experiment.systems:
        _check_lengths(experiment, name)
    if experiment.tokenizer.init and (missing := _missing_folder(experiment.tokenizer.init)):
        raise GraphError(("tokenizer", "init"), missing)
    yield from _corpus(experiment)
    yield from _index(experiment)
    yield from _depths(experiment)
    yield from _store(experiment)


def _start(experiment: Experiment, name: str) -> Iterator[str]:
    """Where the weights come from: folders that do not exist, or that look like names of repositories."""
    model = experiment.models[name]
    for field in model.outside:
        start = getattr(model, field, None)
        if not isinstance(start, str) or start in experiment.systems or os.path.isdir(Path(start).expanduser()):
            continue
        if missing := _missing_folder(start):
            raise GraphError(("models", name, field), missing)
        parent = Path(start.partition("@")[0]).parent
        if parent.is_dir() and HUB_ID.match(start):
            there = [f"{parent}/{one.name}" for one in sorted(parent.iterdir()) if one.is_dir()]
            yield f"models.{name}.{field}: there is no folder {start}{nearest(start, there)} (so it is taken for a Hugging Face id)"


def finished_retriever(folder: str) -> bool:
    """Whether a local folder holds a model that can retrieve as it is: one of ours, or one of sentence-transformers."""
    place = Path(folder).expanduser()
    own = said_in(place / "simlm.json")
    return (place / "modules.json").is_file() if own is None else isinstance(own, dict) and "pooling" in own


def _unjudged(experiment: Experiment, name: str) -> Iterator[str]:
    """A start that could retrieve without any training but is not among the judged systems."""
    start, models = experiment.models[name].initial(), experiment.models
    if experiment.models[name].origin == "released" or not start or start in models or not finished_retriever(start):
        return
    if not any(models[other].initial() == start and models[other].origin == "released" for other in experiment.evaluate.systems if other in models):
        yield (
            f"models.{name}.init: {start} can retrieve as it is, but nothing judges it untouched; add start: {{kind: given_biencoder, init: {start}}} to "
            "models and evaluate.systems, and let the others start from it"
        )


def _missing_folder(name: str) -> str | None:
    path = Path(name).expanduser() if not name.startswith("~") or "/" in name else Path(name)
    if not name.startswith((".", "/", "~")) or path.is_dir():
        return None
    there = [str(one) for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
    return f"the folder '{name}' does not exist{nearest(str(path), there)}"


def _check_lengths(experiment: Experiment, name: str) -> None:
    """Lengths beyond a model's positions; the parts of a model may have different ones."""
    model, node = experiment.system(name), node_of(name)
    if name in experiment.models and model.parts():
        return
    limit = positions_of(experiment, name)
    for field in LENGTHS:
        length = getattr(model, field, None)
        if limit is not None and isinstance(length, int) and length > limit:
            raise GraphError(("models", node, field), f"{length} tokens are more than the {limit} positions of the model it starts from; lower it")


def _check_decoder(experiment: Experiment, name: str) -> None:
    decoder, architecture = getattr(experiment.models[name], "decoder", None), architecture_of(experiment, name)
    if decoder is not None and architecture is not None and (why := why_no_decoder(architecture, decoder)):
        raise GraphError(("models", name, "decoder"), why)


def _corpus(experiment: Experiment) -> Iterator[str]:
    block = experiment.corpus
    if isinstance(block, BeirFolder) and not Path(block.path).expanduser().is_dir():
        raise GraphError(("corpus", "path"), f"the folder {block.path} does not exist; it must hold corpus.jsonl, queries.jsonl and qrels/")
    if isinstance(block, HubDataset) and (missing := _missing_folder(block.id)):
        raise GraphError(("corpus", "id"), missing)
    generator = generator_of(experiment)
    if generator and (missing := _missing_folder(generator)):
        raise GraphError(("corpus", "made_queries", "generator", "init"), missing)
    source = getattr(block, "title_source", lambda: None)()
    if source and (missing := _missing_folder(source)):
        raise GraphError(("corpus", "title_dataset"), missing)
    if experiment.gate.published and not Path(experiment.gate.published).expanduser().is_file():
        raise GraphError(("gate", "published"), f"the file {experiment.gate.published} does not exist")
    yield from ()


def _index(experiment: Experiment) -> Iterator[str]:
    """The factory string, tried on the width of each model; only where it is not the usual exact one, because faiss takes half a second."""
    known: dict[tuple[str, int], int] = {}
    checked = set()
    for name, model in experiment.systems.items():
        if not model.encodes:
            continue
        block, place = experiment.index_of(name), ("models", node_of(name), "index") if getattr(model, "index", None) else ("index",)
        if getattr(model, "ragged", False):
            if block.factory != "Flat":
                raise GraphError((*place, "factory"), f"'{name}' has a vector per token, which no faiss index takes; leave factory out, or set residual")
            continue
        if block.residual is not None and len(place) > 1:
            raise GraphError((*place, "residual"), f"'{name}' has one vector per text; choose an index by factory, such as SQ8")
        if block.factory == "Flat":
            if block.nprobe is not None:
                raise GraphError((*place, "nprobe"), "a Flat index has no cells to visit; remove nprobe or choose an IVF index")
            if block.ef_search is not None:
                raise GraphError((*place, "ef_search"), "a Flat index is no graph; remove ef_search or choose an HNSW index")
            continue
        key = (block.factory, width_of(experiment, name) or USUAL_WIDTH)
        if (place, key) not in checked:
            checked.add((place, key))
            needed = known[key] if key in known else known.setdefault(key, vectors_needed((*place, "factory"), *key))
            if block.train_vectors < needed:
                raise GraphError((*place, "train_vectors"), f"{block.factory} learns from {needed:,} vectors at least, more than {block.train_vectors:,}")
            most, said = _passages(experiment, min(39 * needed, max(needed, COUNTED)))
            if most < needed:
                raise GraphError((*place, "factory"), f"{block.factory} learns from {needed:,} vectors at least, but {said} {most:,}")
            if most < 39 * needed:
                yield f"{'.'.join(place)}.factory: faiss advises {39 * needed:,} vectors to train {block.factory}; {said} {most:,}"


def _passages(experiment: Experiment, enough: int) -> tuple[float, str]:
    """Most passages that the corpus may have, as far as files at hand tell without reading more than ``enough`` of them, and what says so."""
    most = experiment.corpus.max_passages
    found: tuple[float, str] = (inf, "") if most is None else (most, "corpus.max_passages is")
    for name in ("corpus.jsonl", "corpus.jsonl.gz") if isinstance(experiment.corpus, BeirFolder) else ():
        file = Path(experiment.corpus.path).expanduser() / name
        if file.is_file():
            try:
                lines = sum(1 for _ in islice(numbered_lines(file), enough))
            except UserError:  # the stage that reads it all says what is wrong
                break
            return (lines, f"the lines of {file} are") if lines < min(enough, found[0]) else found
    return found


def vectors_needed(place: tuple[str | int, ...], factory: str, width: int) -> int:
    """Fewest vectors that an index can be trained on; 0 where nothing is trained.

    Raises
    ------
    GraphError
        If faiss cannot make such an index for inner products, or add vectors without ids to it.
    """
    import faiss

    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rsplit("Error: ", 1)[-1].rsplit(".cpp:", 1)[-1].lstrip("0123456789: ")
        raise GraphError(place, f"'{factory}' is no index for inner products of {width} numbers ({reason[:160]}); `Flat` is exact") from None
    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise GraphError(place, f"'{factory}' has ids of its own, but a passage's id is its row; leave IDMap out")
    if getattr(index, "nlist", 1) < 1:
        raise GraphError(place, f"'{factory}' has no cells; give IVF a number above 0")
    return _trained_on(index)


def _trained_on(index: Any) -> int:
    import faiss

    index = faiss.downcast_index(index)
    inner = [getattr(index, name, None) for name in ("index", "quantizer", "base_index", "refine_index", "storage")]
    needs = [_trained_on(one) for one in inner if isinstance(one, faiss.Index)]
    cells = getattr(index, "nlist", 0)
    quantizer = getattr(index, "pq", None)
    codes = 2**quantizer.nbits if quantizer is not None else 0
    return max([cells, codes, *needs])


def _depths(experiment: Experiment) -> Iterator[str]:
    negatives, depth = experiment.negatives, experiment.evaluate.depth
    yield from beyond(experiment.evaluate.metrics, depth)
    if negatives.sample > negatives.depth:
        yield f"negatives.sample: {negatives.sample} of the top {negatives.depth} cannot be drawn; every list has {negatives.depth} mined negatives at most"
    for name, model in experiment.models.items():
        most = getattr(model, "rerank_depth", None)
        if most is not None and most > depth:
            yield f"models.{name}.rerank_depth: the runs hold {depth} passages (evaluate.depth), so that {depth} are re-ranked, not {most}"


def _store(experiment: Experiment) -> Iterator[str]:
    """MLflow's address; what cannot be written to costs the mirror alone, so it is a caution."""
    uri = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    where = "tracking.uri" if experiment.tracking.uri else "MLFLOW_TRACKING_URI"
    if not uri or uri == "databricks":
        return
    advice = "give http://host:port, sqlite:///file, or nothing"
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError as error:
        yield f"{where}: this is no address ({error}); {advice}"
        return
    scheme = parts.scheme.partition("+")[0]
    if scheme not in STORES:
        found = f"'{scheme}'" if scheme and scheme != "file" else "a folder"
        yield f"{where}: MLflow does not write to {found}{nearest(scheme, STORES)}; {advice}"
    elif scheme in ("http", "https") and not parts.hostname:
        yield f"{where}: the address names no host; {advice}"
    elif scheme == "sqlite" and (not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).expanduser().is_dir()):
        yield f"{where}: sqlite takes a file after three slashes; {advice}"
