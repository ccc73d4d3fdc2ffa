"""A small experiment that has run, and a copy of it for every test to damage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from small_world import Place

from simlm.cli import main


def pytest_collection_modifyitems(items):
    """What needs the experiment waits for a whole chain."""
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The experiment, made once."""
    import small_world

    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    os.chdir(folder)
    try:
        small_world.make(folder)
    finally:
        os.chdir(before)
    return folder


def without_digests(results: Path) -> None:
    """Take from records and manifests what they say of files, as those of an older version did not, so that readers must see for themselves."""
    for file in [*results.glob("stages/*.json"), *results.glob("*/manifest.json"), *results.glob("models/*/simlm.json")]:
        values = json.loads(file.read_text())
        values.pop("seal", None)
        for key in {"inputs", "outputs"} & values.keys():
            values[key] = {name: about for name, about in values[key].items() if not str(about["path"]).startswith("results/")}
        if "files" in values:  # BM25's had sizes
            values["files"] = {name: about["bytes"] for name, about in values["files"].items()} if file.parent.name == "bm25" else {}
        file.write_text(json.dumps(values))


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    folder = tmp_path / "place"
    shutil.copytree(world, folder)
    without_digests(folder / "results" / "tiny")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Place(folder)


@pytest.fixture
def refused(capfd):
    """Run a command that must refuse: one sentence, exit code 2, nothing changed. Returns the sentence."""

    def call(place: Place, *arguments: str, but: tuple[str, ...] = ()) -> str:
        before = place.tree(*but)
        capfd.readouterr()
        code = main(list(arguments))
        err = capfd.readouterr().err
        assert code == 2, err
        assert "Traceback" not in err
        sentence = err.rstrip("\n").split("\n")[-1]
        assert sentence.startswith(f"simlm {arguments[0]}: "), err
        after = place.tree(*but)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        assert not changed, f"{sentence}\nchanged: {changed}"
        return sentence

    return call
