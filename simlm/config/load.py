"""Reads a configuration file into typed models; every mistake becomes one sentence with file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from simlm.config.experiment import Experiment
from simlm.config.graph import GraphError, check_graph
from simlm.config.seeds import as_written, with_seeds
from simlm.errors import UserError, nearest
from simlm.files import first_bad_line
from simlm.secrets import find_secret


def load_experiment(*paths: str | Path) -> Experiment:
    """Read one or more YAML files, the later laid over the earlier (see :func:`merge`).

    Raises
    ------
    UserError
        On the first mistake, naming file, line and key, with the nearest valid name.
    """
    return validate(read_values(*paths), [Path(path) for path in paths])


def resolved(experiment: Experiment) -> str:
    """The whole configuration as YAML, every default written out."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def read_values(*paths: str | Path) -> dict[str, Any]:
    """The plain values of one or more YAML files, the later laid over the earlier, not yet checked."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = merge(merged, _read(Path(path)))
    return merged


def validate(values: dict[str, Any], files: list[Path] | None = None) -> Experiment:
    """Check plain values (as Snakemake's ``config`` holds them) against the models and the graph's rules."""
    files = files or []
    if secret := find_secret(values):
        # First of all, so that no other message repeats it.
        raise UserError(f"{_where(secret[0], files)}: {_where_secrets_belong(secret)}")
    try:
        experiment = with_seeds(Experiment.model_validate(values))
        check_graph(experiment)
    except ValidationError as error:
        place, sentence = _first_mistake(error, values)
        raise UserError(f"{_where(place, files)}: {sentence}{_overlay(sentence, values, files)}") from None
    except GraphError as error:
        raise UserError(f"{_where(error.place, files)}: {error.sentence}") from None
    return experiment


def _overlay(sentence: str, values: dict[str, Any], files: list[Path]) -> str:
    """What to do with a single file that is made to be laid over another one: it lacks blocks, or kinds of models."""
    models = values.get("models")
    kindless = isinstance(models, dict) and any(isinstance(block, dict) and "kind" not in block for block in models.values())
    lacking = any(field.is_required() and name not in values for name, field in Experiment.model_fields.items())
    if len(files) != 1 or not sentence.startswith("the key") or not (kindless or lacking):
        return ""
    return f"; this looks like an overlay, which is laid over another file: --config config/config.yaml {files[0]}"


def _where_secrets_belong(secret: tuple[tuple[str | int, ...], str]) -> str:
    place, what = secret
    if place[:1] == ("tracking",):
        where = (
            "give the address by the environment variable MLFLOW_TRACKING_URI, or user and password of a server by MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD or in ~/.mlflow/credentials, those of PostgreSQL in ~/.pgpass"
        )
    else:
        where = "a token of Hugging Face belongs into the environment variable HF_TOKEN, keys of a store into its own variables; else use a local copy"
    return f"this holds {what}, and a configuration is copied into results, reports and MLflow; take it out: {where}"


def before_running(experiment: Experiment, files: list[Path] | None = None) -> list[str]:
    """Cautions about values that may not be meant (:mod:`simlm.config.feasible`), asked before the first job.

    Raises
    ------
    UserError
        At the first value that cannot work, naming file, line and key.
    """
    from simlm.config.feasible import cautions

    try:
        return list(cautions(experiment))
    except GraphError as error:
        raise UserError(f"{_where(error.place, files or [])}: {error.sentence}") from None


NAMED = ("models", "variants", "splits", "max_queries")
"""Mappings whose keys are names of the user's own; null takes a name of an earlier file out of them."""


def merge(under: Any, over: Any, named: bool = False) -> Any:
    """Lay ``over`` on ``under`` as Snakemake merges several ``--configfile``s: mappings are merged, the rest is replaced.

    Two things beyond that, which a change of corpus needs: a block of another ``source`` or ``kind`` is replaced as a
    whole, because the keys of the one mean nothing to the other; and null takes out a model or a split.

    >>> merge({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 3}, "l": [2]})
    {'a': {'b': 3, 'c': 2}, 'l': [2]}
    >>> merge({"source": "python_docs", "packages": ["numpy"]}, {"source": "beir", "path": "data"})
    {'source': 'beir', 'path': 'data'}
    >>> merge({"splits": {"dev": {}, "test": {}}}, {"splits": {"test": None, "dl19": {}}})
    {'splits': {'dev': {}, 'dl19': {}}}
    """
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    if any(isinstance(under.get(tag), str) and isinstance(over.get(tag), str) and under[tag] != over[tag] for tag in ("source", "kind")):
        return over
    out = {key for key, value in over.items() if named and value is None and key in under}
    merged = {**under, **{key: merge(under.get(key), value, key in NAMED) for key, value in over.items()}}
    return {key: value for key, value in merged.items() if key not in out}


class _Loader(yaml.SafeLoader):
    """The safe loader, which makes plain values only; a key given twice is a mistake, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' is given twice; keep one", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


LARGEST = 100_000
"""Values of a configuration once its aliases and merge keys are written out; a few lines can stand for more than any memory holds."""


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, those behind aliases counted each time.

    Raises
    ------
    yaml.YAMLError
        If there are more than :data:`LARGEST`, or if a value holds itself.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "a value holds itself", node.start_mark)
        return known[id(node)]
    known[id(node)], size = 0, 1
    if isinstance(node, yaml.CollectionNode):
        for part in node.value:
            size += sum(_size(one, known) for one in (part if isinstance(part, tuple) else (part,)))
    if size > LARGEST:
        raise yaml.constructor.ConstructorError(None, None, f"aliases or merge keys stand for more than {LARGEST:,} values", node.start_mark)
    known[id(node)] = size
    return size


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            loader = _Loader(stream)
            try:
                node = loader.get_single_node()
                values = loader.construct_document(node) if node and _size(node, {}) else None
            finally:
                loader.dispose()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a configuration file such as config/config.yaml") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); give a configuration file such as config/config.yaml") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{first_bad_line(path)} is not UTF-8 ({error.reason}); convert the file") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be a configuration; look at its brackets and indentation") from None
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: dates and numbers that YAML allows and Python does not.
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line} is not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a mapping with the keys name, corpus, models and evaluate")
    strange = next((key for key in values if not isinstance(key, str)), None)
    if strange is not None:
        raise UserError(f"{path}: the key {strange!r} is not text; there are {', '.join(Experiment.model_fields)}")
    return values


def _first_mistake(error: ValidationError, values: Any) -> tuple[tuple[str | int, ...], str]:
    """Place (path of keys of the file) and sentence of the first mistake."""
    mistakes = error.errors()
    first = _file_path(mistakes[0]["loc"], values)
    # Of the members of a union the one that got furthest speaks; where none got into the value, all do.
    there = [(place, one) for one in mistakes if (place := _file_path(one["loc"], values))[: len(first)] == first]
    place, mistake = max(there, key=lambda one: len(one[0]))
    kind, given = mistake["type"], mistake.get("input")
    if kind == "extra_forbidden":
        return place, f"unknown key '{place[-1]}'{nearest(place[-1], _siblings(mistake['loc'][:-1]))}"
    if kind == "missing":
        return place[:-1] or place, f"the key '{mistake['loc'][-1]}' is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(mistake["ctx"]["discriminator"]).strip("'")
        allowed = [name.strip(" '") for name in mistake["ctx"].get("expected_tags", "").split(",") if name.strip()]
        if kind == "union_tag_not_found":
            return place, f"the key '{tag}' is missing{_misspelt(place, values)}"
        found = mistake["ctx"]["tag"]
        return (*place, tag), f"no {tag} is called '{found}'{nearest(found, allowed)} (there are {', '.join(allowed)})"
    if given is None and len(place) > 1 and place[-2] in NAMED:
        return place, f"null takes out a name of an earlier file, and none has '{place[-1]}'{nearest(str(place[-1]), _others(place, values))}"
    alike = dict.fromkeys(one["msg"] for other, one in there if other == place)
    sentence = " or ".join([*alike][:1] + [other.removeprefix("Input should be ") for other in [*alike][1:]]).removeprefix("Value error, ")
    sentence = sentence[:1].lower() + sentence[1:]
    return place, sentence if kind == "value_error" else f"{sentence}, not {given!r}"


def _misspelt(place: tuple[str | int, ...], values: Any) -> str:
    """The nearest other name, where a block without a kind was probably meant for a model that has one: an overlay changes models by name."""
    if len(place) != 2 or place[0] != "models":
        return ""
    others = _others(place, values)
    return nearest(str(place[1]), others) or f" (a new model says its kind; there are {', '.join(others)})"


def _others(place: tuple[str | int, ...], values: Any) -> list[str]:
    """Names beside the last of a place that stand for something."""
    for key in place[:-1]:
        values = values[key]
    return [str(name) for name, value in values.items() if name != place[-1] and value is not None and (place[0] != "models" or "kind" in value)]


def _file_path(loc: tuple[str | int, ...], values: Any) -> tuple[str | int, ...]:
    """Pydantic's location without the union tags it inserts: kinds, and types such as ``list[float]``."""
    path: list[str | int] = []
    for key in loc:
        is_kind = isinstance(values, dict) and key not in values and key in (values.get("kind"), values.get("source"))
        is_type = isinstance(key, str) and ("[" in key or (values is not None and not isinstance(values, dict)))
        if is_kind or is_type:
            continue
        path.append(key)
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            values = None
    return tuple(path)


def _siblings(loc: tuple[str | int, ...]) -> list[str]:
    """Valid keys of the block at a pydantic location."""
    current: Any = Experiment
    for key in loc:
        models = _models_in(current)
        step = None
        for model in models:
            if isinstance(key, str) and key in model.model_fields:
                step = model.model_fields[key].annotation
            elif key in [
                get_args(model.model_fields[tag].annotation)[0]
                for tag in ("kind", "source")
                if tag in model.model_fields and get_args(model.model_fields[tag].annotation)
            ]:
                step = model
            if step is not None:
                break
        current = step if step is not None else current
    return [name for model in _models_in(current) for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _where(place: tuple[str | int, ...], files: list[Path]) -> str:
    """``file:line: key.path`` of the deepest part of the place that a file holds; the last file that has it counts."""
    dotted = ".".join(map(str, place))
    best: tuple[int, str] = (0, f"{files[-1]}: " if files else "configuration: ")
    for file in files:
        with open(file, encoding="utf-8") as stream:
            node = yaml.compose(stream, Loader=yaml.SafeLoader)
        depth, line = 0, 1
        for key in place:
            step = None
            if isinstance(node, yaml.MappingNode):
                step = next(((k, v) for name in (str(key), as_written(str(key))) for k, v in node.value if k.value == name), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                step = (node.value[key], node.value[key])
            if step is None:
                break
            depth, line, node = depth + 1, step[0].start_mark.line + 1, step[1]
        if depth and depth >= best[0]:
            best = (depth, f"{os.path.relpath(file) if not file.is_absolute() else file}:{line}: ")
    return best[1] + dotted
