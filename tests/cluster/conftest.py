"""One Slurm for all tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A running Slurm; skips where none can be started."""
    import slurm as one_node

    reason = one_node.missing()
    if reason:
        pytest.skip(reason)
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the Slurm plugin is not installed: pip install -e '.[slurm]'")
    folder = tmp_path_factory.mktemp("slurm")
    try:
        one_node.start(folder)
        yield one_node
    finally:
        one_node.stop(folder)
