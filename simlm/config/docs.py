"""Everything written about the configuration, derived from the typed models: JSON schema, reference, comments of a file."""

from __future__ import annotations

import json
import re
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from simlm.config.corpora import Corpus
from simlm.config.experiment import Experiment
from simlm.config.kinds import KINDS

WIDTH = 118
PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def json_schema() -> str:
    """JSON schema of a configuration file, for editors that complete and check while typing."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def reference() -> str:
    """Markdown reference of every key, block by block."""
    sources = _union_members(Corpus)
    parts = [_INTRODUCTION, _section("The file", Experiment)]
    parts += [_section(f"`{name}`", block) for name, block in _blocks(Experiment).items()]
    parts += [f"## `corpus`\n\n{_first_line(sources[0].__mro__[1])} `source` says which of these it is.\n"]
    parts += [_section(f"`source: {_tag(block, 'source')}`", block, level=3) for block in sources]
    parts += ["## `models`\n\nName → model. `kind` says which of these it is.\n"]
    parts += [_section(f"`kind: {_tag(block, 'kind')}`", block, level=3) for block in KINDS]
    nested = {block for kind in (*KINDS, *sources, Experiment) for field in kind.model_fields.values() for block in _nested(field.annotation)}
    known = {*KINDS, *sources, *_blocks(Experiment).values()}
    parts += ["## Blocks inside blocks\n"]
    parts += [_section(f"`{block.__name__}`", block, level=3) for block in sorted(nested - known, key=lambda block: block.__name__)]
    return "\n".join(parts)


_INTRODUCTION = """# Configuration

Written by `simlm schema` from the typed models in `simlm/config/`; a test asserts that it is up to date.

One file describes one experiment; several files given together are laid over each other, the later over the earlier
(mappings are merged, lists and values replaced; a block of another `source` or `kind` is replaced as a whole; null takes
a name out of `models`, `variants`, `splits` or `max_queries`). An unknown key, a dangling name, a wrong kind or a cycle is refused before
any job starts, with file and line. `simlm check --config FILE …` checks files and prints their graph of models.

| file | what it is |
|---|---|
| `config.yaml` | the default: docstrings of the installed libraries, small models |
| `from-scratch.yaml` | laid over it: the small base and generator, otherwise given, are trained in the run as well |
| `smoke.yaml` | the same graph on a few hundred passages, for tests |
| `msmarco.yaml` | MS MARCO and TREC DL 2019, 2020 with the paper's settings (docs/msmarco.md) |
| `msmarco-budget.yaml` | the same for one accelerator, with an eighth of the pre-training |
| `nq.yaml` | Natural Questions over DPR's Wikipedia with the paper's settings, judged by answers (docs/nq.md) |
| `authors-code.yaml` | laid over `msmarco.yaml`: what the authors' code does beside the paper |
| `released.yaml` | the authors' checkpoints judged on MS MARCO, without training |
| `msmarco-systems.yaml` | laid over `msmarco.yaml`: the systems that the paper compares with, with their own papers' settings (docs/systems.md) |
| `systems.yaml` | laid over `config.yaml`: SimLM, coCondenser, RocketQAv2 and ColBERTv2 side by side, in half an hour of two cores (docs/systems.md) |
| `objectives.yaml` | laid over `smoke.yaml`: the objectives of pre-training that the paper compares, a bag of words, RetroMAE, DupMAE and coCondenser |
| `ablation.yaml` | laid over `config.yaml`: the ablations of SimLM's pre-training, the seven objectives with three seeds each (docs/systems.md) |
| `msmarco-ablation.yaml` | laid over `msmarco.yaml`: the same ablations at full size |
| `pretrained.yaml` | trains the small base and generator that come with the repository |
| `examples/own-corpus.yaml` | the whole method on a folder of your own; `examples/real-corpus.yaml` with the default's graph |
| `examples/made-queries.yaml` | a corpus without training queries: made of the passages (docs/own-data.md), or by a model: `examples/generated-queries.yaml` |
| `examples/hub-corpus.yaml` | a data set of the Hugging Face hub, with counts, revision and a part of the training queries as dev |
| `examples/published-encoder.yaml` | published models on your own passages: pooling, prompts, titles |
| `examples/cluster.yaml` | laid over `config.yaml`: several processes, an MLflow server, a gate that fails |
| `examples/large-index.yaml` | laid over `msmarco.yaml`: IVF, HNSW and exact indexes by retriever |
| `examples/cocondenser.yaml` | laid over `config.yaml`: coCondenser's two pre-trainings and two rounds of fine-tuning (docs/systems.md) |
| `examples/colbertv2.yaml` | laid over `config.yaml`: late interaction in two rounds, with a compressed index (docs/systems.md) |
| `examples/teachers.yaml` | laid over `examples/own-corpus.yaml`: a published cross-encoder and a file of scores as teachers (docs/own-data.md) |
| `examples/dupmae.yaml` | laid over `config.yaml`: DupMAE's pre-training and its retriever with a vector of two parts, [CLS] and words (docs/systems.md) |
| `examples/rocketqav2.yaml` | laid over `config.yaml`: a retriever and a re-ranker that learn from each other (docs/systems.md) |
| `examples/packed.yaml` | laid over `msmarco.yaml`: batches packed into rows of tokens, for accelerators (docs/scale.md) |
| `examples/seeds.yaml` | laid over `config.yaml`: another seed and both as one variant, a harder task, other tests |
| `published.yaml`, `published-nq.yaml` | no experiments: published figures and tolerances, which the gate compares with |
"""


def commented(text: str) -> str:
    """A configuration file with the description of each key above its first appearance.

    Values and order stay as they are. Comment lines that start with ``##`` are the author's own and stay; other
    comment lines are replaced.

    >>> print(commented("name: x\\n## mine\\nseed: 1\\n"), end="")
    # Names the folder below `results`.
    name: x
    ## mine
    # All randomness comes from this.
    seed: 1
    """
    lines = [line for line in text.splitlines() if not re.match(r"\s*#(?!#)", line)]
    bare = "\n".join(lines) + "\n"
    notes: dict[int, str] = {}
    node = yaml.compose(bare, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        _collect(node, Experiment, lines, notes, set())
    out: list[str] = []
    for number, line in enumerate(lines):
        if number in notes:
            indent = line[: len(line) - len(line.lstrip())]
            out += textwrap.wrap(notes[number], WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False)
        out.append(line)
    return "\n".join(out) + "\n"


def _collect(node: yaml.MappingNode, block: type[BaseModel], lines: list[str], notes: dict[int, str], seen: set[tuple[str, str]]) -> None:
    """Descriptions by line number for the keys of one mapping and what lies below it."""
    for key, value in node.value:
        field = block.model_fields.get(key.value)
        if field is None:
            continue
        owner = next(base.__name__ for base in reversed(block.__mro__) if key.value in getattr(base, "model_fields", {}))
        number = key.start_mark.line
        begins_line = not lines[number][: key.start_mark.column].strip()
        if begins_line and field.description and (owner, key.value) not in seen:
            seen.add((owner, key.value))
            notes[number] = field.description
        inner = _named_block(field.annotation, value)
        if inner is not None:
            _collect(value, inner, lines, notes, seen)
        elif isinstance(value, yaml.MappingNode):
            values = get_args(field.annotation)[-1:]
            for _, child in value.value:
                below = _named_block(values[0], child) if values else None
                if below is not None:
                    _collect(child, below, lines, notes, seen)


def _named_block(annotation: Any, node: yaml.Node) -> type[BaseModel] | None:
    """The block that a YAML mapping is meant to be, by its ``kind`` or ``source`` where there are several."""
    if not isinstance(node, yaml.MappingNode) or get_origin(annotation) is dict:
        return None
    given = {key.value: value.value for key, value in node.value}
    members = _union_members(annotation)
    for block in members:
        for discriminator in ("kind", "source"):
            if discriminator in block.model_fields and _tag(block, discriminator) == given.get(discriminator):
                return block
    return members[0] if len(members) == 1 else None


def _union_members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _union_members(part)]
    return []


def _nested(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [block for part in get_args(annotation) for block in _nested(part)]


def _blocks(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Keys of a model that hold exactly one kind of block."""
    return {name: found[0] for name, field in model.model_fields.items() if len(found := _union_members(field.annotation)) == 1}


def _tag(block: type[BaseModel], discriminator: str) -> str | None:
    values = get_args(block.model_fields[discriminator].annotation)
    return values[0] if values else None


def _first_line(block: type[BaseModel]) -> str:
    return (block.__doc__ or "").strip().splitlines()[0]


def _section(title: str, block: type[BaseModel], level: int = 2) -> str:
    rows = [f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_description(field)} |" for name, field in block.model_fields.items()]
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"{'#' * level} {title}\n\n{_first_line(block)}\n\n{table}\n"


def _description(field: FieldInfo) -> str:
    text = field.description or "Says which block this is."
    limits = [f"{sign} {getattr(rule, name)}" for rule in field.metadata for name, sign in _LIMITS.items() if getattr(rule, name, None) is not None]
    if limits:
        text += f" ({', '.join(limits)})"
    if field.examples:
        text += f" Example: `{json.dumps(field.examples[0], ensure_ascii=False)}`."
    return text.replace("|", "\\|")


_LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return "see below"
    return f"`{json.dumps(field.default, ensure_ascii=False)}`"


def _type(annotation: Any) -> str:
    """Readable type, such as ``list of text``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return "one of the blocks below" if len(_union_members(annotation)) > 1 else " or ".join(map(_type, arguments))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {_type(arguments[0])}"
    if origin is dict:
        return f"names → {_type(arguments[1])}"
    return f"block `{annotation.__name__}`"
