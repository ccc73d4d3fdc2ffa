"""Every shipped experiment is sound with the files below it, and every setting is set by one of them."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from simlm.cli import main
from simlm.config import Experiment, load_experiment
from simlm.config.docs import reference
from simlm.config.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
BELOW = re.compile(r"# Laid over (config/\S+\.yaml(?: and config/\S+\.yaml)*): ")
"""First line of a file that is laid over others, which it names in their order."""
FILES = [file for file in sorted((ROOT / "config").rglob("*.yaml")) if file.name not in ("published.yaml", "published-nq.yaml")]


def layers(file: Path) -> list[Path]:
    """The file and those that it is laid over."""
    found = BELOW.match(file.read_text(encoding="utf-8"))
    return [*(ROOT / name for name in (found[1].split(" and ") if found else [])), file]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which all that the files name lies where they say."""
    for name in ("config", "pretrained"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config/examples/own-corpus", tmp_path / "data/mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from blocks_in(argument)


def name_of(block: type[BaseModel], key: str) -> str:
    """The key, below the class that has it first: one that several kinds inherit is one key."""
    return f"{next(parent for parent in reversed(block.__mro__) if key in inspect.get_annotations(parent)).__name__}.{key}"


def keys_below(block: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """All keys of a block and of those inside it."""
    if block in seen:
        return
    seen.add(block)
    for key, field in block.model_fields.items():
        yield name_of(block, key)
        for inner in blocks_in(field.annotation):
            yield from keys_below(inner, seen)


def keys_set(block: BaseModel) -> Iterator[str]:
    """The keys that a file has set, in a block and in those inside it."""
    for key in block.model_fields_set:
        yield name_of(type(block), key)
        value = getattr(block, key)
        for inner in value.values() if isinstance(value, dict) else [value]:
            if isinstance(inner, BaseModel):
                yield from keys_set(inner)


def test_every_key_is_set_by_a_shipped_file():
    shipped = {key for file in FILES for key in keys_set(load_experiment(*layers(file)))}
    known = {block for block in KINDS if block.__module__.startswith("simlm.")}
    assert known <= set(blocks_in(Experiment.model_fields["models"].annotation))
    unset = sorted(set(keys_below(Experiment, set())) - shipped)
    assert not unset, f"no shipped file sets {', '.join(unset)}: show their use in one, or delete them"


def test_keys_are_found_where_they_are_set():
    shipped = set(keys_set(load_experiment(ROOT / "config" / "smoke.yaml")))
    assert {"Bottleneck.generator", "Training.steps", "Size.layers", "Evaluate.main_split", "Probe.queries"} <= shipped
    assert not {"Bottleneck.decoder_token_types", "Training.seed", "Gate.enforce"} & shipped
    assert {"CorpusBlock.partition", "Training.learning_rate", "Index.nprobe", "EvaluatedSplit.relevance"} <= set(keys_below(Experiment, set()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_file_is_sound(file, place, capsys):
    assert main(["check", "--config", *map(str, layers(file))]) == 0
    printed = capsys.readouterr()
    assert "is valid" in printed.out
    assert "caution" not in printed.out + printed.err


def test_every_shipped_file_is_described():
    text = reference()
    for file in FILES:
        assert f"`{file.relative_to(ROOT / 'config')}`" in text


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_file_is_planned(file, place):
    from tests.workflow.conftest import run_snakemake

    done = run_snakemake(place, "--cores", "2", "-n", configs=layers(file), seconds=600)
    assert done.code == 0, done.text[-3000:]
    assert "report" in done.text


def test_the_page_on_own_data_describes_the_default_as_it_is():
    page, models = (ROOT / "docs/own-data.md").read_text(encoding="utf-8"), load_experiment(ROOT / "config/config.yaml").models
    first = models["retriever1"]
    assert f"with {first.epochs:g} epochs in batches of {first.batch_size}" in page
    assert f"read the first {first.passage_length} tokens of a passage" in page
    assert f"its pre-training reads {models['simlm'].max_length}" in page
