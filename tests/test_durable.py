"""Files and folders that are put into place are whole whatever ends the process, on the disk, and readable as the umask says."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys

import pytest

from simlm import durable, files
from simlm.errors import UserError
from simlm.files import atomic_file, atomic_folder, read_json, write_json

REPLACE = """
import os, sys
from simlm import durable
from simlm.files import atomic_folder, write_text

path, number, exchange = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "exchange"
calls = 0
def killed_after(function):
    def call(*arguments):
        global calls
        done = function(*arguments)
        calls += os.path.realpath(path) in map(os.path.realpath, arguments)
        if calls == number:
            os.kill(os.getpid(), 9)
        return done
    return call
os.replace = killed_after(os.replace)
durable.exchange = killed_after(durable.exchange) if exchange else lambda *_: False
with atomic_folder(path) as temporary:
    (temporary / "text").write_text("new")
    (temporary / "more").write_text("new")
"""


def content(folder):
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize(("way", "number"), [("exchange", 1), ("renames", 1), ("renames", 2)])
def test_a_kill_while_a_folder_is_replaced_leaves_a_whole_one(tmp_path, way, number):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "text").write_text("old")
    killed = subprocess.run([sys.executable, "-c", REPLACE, str(tmp_path / "model"), str(number), way], check=False)
    assert killed.returncode == -9
    durable.clean_beside(tmp_path / "model")
    assert content(tmp_path / "model") in ({"text": "old"}, {"text": "new", "more": "new"})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_reading_finds_the_folder_that_a_killed_process_was_replacing(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        write_json(folder / "manifest.json", {"version": "old"})
    assert subprocess.run([sys.executable, "-c", REPLACE, str(tmp_path / "model"), "1", "renames"], check=False).returncode == -9
    assert not (tmp_path / "model").exists()
    assert read_json(tmp_path / "model" / "manifest.json", "simlm make") == {"version": "old"}


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_quota_at_the_last_rename_leaves_the_old_folder(tmp_path, monkeypatch, exchanged):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "text").write_text("old")
    replace = os.replace

    def full(source, target):
        if str(source).endswith(".tmp"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        replace(source, target)

    def full_exchange(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(durable, "exchange", full_exchange if exchanged else lambda *_: False)
    with pytest.raises(UserError, match="Disk quota exceeded"), atomic_folder(tmp_path / "model") as folder:
        (folder / "text").write_text("new")
    assert content(tmp_path / "model") == {"text": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_this_kernel_exchanges_folders_and_says_where_it_cannot(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert durable.exchange(tmp_path / "one", tmp_path / "other")
    assert content(tmp_path / "one") == {"other": ""}
    with pytest.raises(FileNotFoundError):
        durable.exchange(tmp_path / "one", tmp_path / "nowhere")


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o027, 0o640, 0o750), (0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_what_libraries_write_follows_the_umask(tmp_path, umask, file_mode, folder_mode):
    import torch
    from safetensors.torch import save_file

    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "model") as folder:
            save_file({"weight": torch.zeros(3)}, folder / "model.safetensors")
            (folder / "inner").mkdir(mode=0o700)
            (folder / "inner" / "config.json").write_text("{}")
            (folder / "inner" / "config.json").chmod(0o600)
        with atomic_file(tmp_path / "table"):
            pass
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (folder_mode if path.is_dir() else file_mode), path


def test_content_and_folders_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append(("fsync", os.fstat(descriptor).st_ino)), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("rename", os.stat(a).st_ino)), replace(a, b))[1])
    place = tmp_path / "new" / "deeper"
    with atomic_folder(place / "model") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "array.npy").write_bytes(b"1")
        (folder / "weights").write_bytes(b"2")
    with atomic_file(place / "table") as temporary:
        temporary.write_text("3")

    def number(path):
        return os.stat(path).st_ino

    for name in ("model", "table"):
        renamed = events.index(("rename", number(place / name)))
        assert ("fsync", number(place)) in events[renamed:], name
        for path in [place / name, *(place / name).rglob("*")]:
            assert ("fsync", number(path)) in events[:renamed], path
    first = events.index(("rename", number(place / "model")))
    assert {("fsync", number(tmp_path)), ("fsync", number(tmp_path / "new"))} <= set(events[:first])


def test_the_umask_is_read_without_changing_it(monkeypatch):
    before = os.umask(0o022)
    try:
        monkeypatch.setattr(os, "umask", lambda value: pytest.fail("changed for a moment"))
        assert durable._umask() == 0o022
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_a_link_inside_a_folder_is_left_alone(tmp_path):
    (tmp_path / "elsewhere").touch(mode=0o600)
    (tmp_path / "elsewhere").chmod(0o600)
    with files.atomic_folder(tmp_path / "model") as folder:
        (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o600
