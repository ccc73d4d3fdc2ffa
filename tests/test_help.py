"""`simlm --help`: every command under what a person does, at 80 columns."""

from __future__ import annotations

from importlib.util import find_spec

from simlm.cli import COMMANDS, GROUPS, main, overview
from simlm.config.jobs import STAGES


def test_every_command_stands_once_and_stages_stand_together(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.rstrip("\n") == overview()
    assert max(map(len, said.splitlines())) < 80
    named = [line.split()[0] for line in said.splitlines() if line.startswith("  ") and not line.startswith("   ")]
    assert sorted(named) == sorted(COMMANDS)
    own = [name for names in GROUPS.values() for name in names]
    assert {name.replace("-", "_") for name in COMMANDS if name not in own} == set(STAGES)
    assert all(find_spec(f"simlm.commands.{name}") for name in own)
