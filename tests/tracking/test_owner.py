"""A results folder keeps its identity where it is moved, and gets another where it is copied."""

import json
import shutil
from dataclasses import replace

import pytest

from simlm.tracking.owner import FILE, Place, mirrored_before, owner_of, remember


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results" / "run"
    folder.mkdir(parents=True)
    return folder


def noted_as(folder, place):
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**content, "place": {**content["place"], **place}}))


def test_a_folder_keeps_its_identity(folder):
    assert owner_of(folder) == owner_of(folder)


def test_a_moved_folder_keeps_it(folder):
    owner = owner_of(folder)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert owner_of(moved) == owner
    assert json.loads((moved / FILE).read_text())["place"]["path"] == str(moved)


def test_a_copied_folder_gets_its_own_and_the_original_keeps_its(folder):
    owner = owner_of(folder)
    remember(folder, {"parent": {"run_id": "r"}})
    copy = shutil.copytree(folder, folder.with_name("copy"))
    other = owner_of(copy)
    assert other != owner
    assert owner_of(copy) == other
    assert mirrored_before(copy) == {}, "the ids of the original are not the copy's"
    assert owner_of(folder) == owner
    assert mirrored_before(folder) == {"parent": {"run_id": "r"}}


def test_a_folder_moved_to_another_file_system_keeps_it(folder, tmp_path):
    owner = owner_of(folder)
    noted_as(folder, {"path": str(tmp_path / "gone"), "device": 1, "inode": 1})
    assert owner_of(folder) == owner


def test_a_copy_on_another_machine_at_the_same_path_is_a_copy(folder):
    owner = owner_of(folder)
    noted_as(folder, {"machine": "another", "device": 1, "inode": 1})
    assert owner_of(folder) != owner


def test_another_machine_that_sees_the_same_folder_is_no_copy(folder):
    here = Place.of(folder)
    assert here.is_same(replace(here, machine="node7", device=99))
    assert not here.is_same(replace(here, machine="node7", path="/other", device=here.device))
