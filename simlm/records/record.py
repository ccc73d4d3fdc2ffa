"""The record every stage leaves: what ran, with which settings, on which inputs, and what came out.

The records are the source of truth; MLflow mirrors them (`simlm track`), the report reads them.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm import __version__, processes
from simlm.damage import stated
from simlm.digests import digests_below
from simlm.errors import UserError
from simlm.files import sealed, sha256_text, write_json, write_text
from simlm.metering import binds, sentence
from simlm.paths import Paths
from simlm.progress import say
from simlm.walltime import Clock

if TYPE_CHECKING:
    from filelock import BaseFileLock


class StageRecord:
    """Context manager that times a stage and writes its record when the stage succeeds.

    It waits until no other process runs the same stage: the job of a killed workflow may still be at work. Of several
    processes of one job the main one writes.

    Parameters
    ----------
    path
        Where the record goes (``Paths.record(stage)``).
    stage
        Name of the stage instance, such as ``train.simlm``.
    settings
        The stage's own block of the configuration.
    inputs
        Name → file whose sha256 is recorded (manifests stand for big folders).
    code
        Fingerprint of the code behind the stage.
    configuration
        The resolved configuration, which is written beside the results where another one or none lies there.
    made
        Outputs of the stage's rule; those that the stage does not name itself are recorded as well.

    Attributes
    ----------
    metrics
        Final numbers of the stage; filled by the stage.
    outputs
        Name → file; path, size and sha256 are recorded.
    notes
        Anything else worth keeping (choices with reasons, counts of dropped items; ``cautions``, see :meth:`caution`).
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        settings: dict[str, Any],
        inputs: dict[str, Path] | None = None,
        code: str = "",
        configuration: str | None = None,
        made: Iterable[Path] = (),
    ) -> None:
        self.path, self.stage, self.settings, self.code, self.configuration = path, stage, settings, code, configuration
        self.made = list(made)
        self.folder = path.parent.parent
        for name, file in (inputs or {}).items():
            if not file.exists():
                raise UserError(f"{file} does not exist; run the stage that makes it ({name}) first")
        digests = digests_below(self.folder)
        self.inputs = {name: {"path": str(file), "sha256": digests.of(file)} for name, file in (inputs or {}).items()}
        self.metrics: dict[str, float | int] = {}
        self.outputs: dict[str, Path] = {}
        self.notes: dict[str, Any] = {}

    def __enter__(self) -> StageRecord:
        if processes.is_main():
            self._lock = only_one(self.path.with_name(f".{self.stage}.lock"))
        processes.wait()
        self.start = datetime.now(UTC)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if processes.is_main():
            try:
                if kind is None:
                    self._write()
            finally:
                self._lock.release()
        if kind is None:
            processes.wait()  # what follows may read what the main process has just written

    def _write(self) -> None:
        from simlm.machine import describe

        end = datetime.now(UTC)
        digests = digests_below(self.folder)
        unnamed = [file for file in self.made if file not in self.outputs.values() and file.is_file()]
        self.outputs |= {str(file.relative_to(self.folder)): file for file in unnamed}
        outputs = {name: {"path": str(file), "bytes": file.stat().st_size, "sha256": digests.of(file)} for name, file in self.outputs.items()}
        self._replace(outputs)
        content = {
            "stage": self.stage,
            "folder": str(self.folder),
            "key": self.key,
            "settings": self.settings,
            "code": self.code,
            "inputs": self.inputs,
            "outputs": outputs,
            "metrics": self.metrics,
            "notes": self.notes,
            "start": self.start.isoformat(),
            "end": end.isoformat(),
            "seconds": round((end - self.start).total_seconds(), 3),
            "peak_memory_mib": _peak_memory(),
            **_peak_gpu_memory(),
            "environment": {"simlm": __version__, "python": platform.python_version(), **_versions()},
            "git": git_state(),
            "hardware": describe(),
        }
        # As it will be read, where whole keys and values have become JSON's.
        write_json(self.path, sealed(json.loads(json.dumps(content))))

        file = self.folder / "config.yaml"
        if self.configuration is not None and not (file.exists() and file.read_text(encoding="utf-8", errors="replace") == self.configuration):
            write_text(file, self.configuration)

    def _replace(self, outputs: dict[str, dict[str, Any]]) -> None:
        """Remove the records of other stages whose results have just been replaced by others, such as those of a search of all splits."""
        written = {Path(about["path"]): about["sha256"] for about in outputs.values()}
        for file, about, record in stated(Paths(self.folder)):
            if record != self.path and written.get(file, about.get("sha256")) != about.get("sha256"):
                record.unlink(missing_ok=True)

    def caution(self, sentence: str) -> None:
        """Tell the user of something that is no mistake but may spoil the figures; report and summary repeat it."""
        say(f"caution: {sentence}")
        self.note_caution(sentence)

    def note_caution(self, sentence: str | None) -> None:
        """The same for what was said already; nothing for None."""
        if sentence:
            self.notes.setdefault("cautions", []).append(sentence)

    def say_speed(self, metrics: dict[str, float] | None = None) -> None:
        """Say how busy the device was, by ``metrics`` that are added to those of the stage or by these, and note what binds.

        Neither belongs to the stage's key.
        """
        self.metrics |= metrics or {}
        said = sentence(self.metrics)
        if said:
            say(f"{self.stage}: {said}.")
            bound = binds(*(self.metrics.get(name) for name in ("waited", "late", "peak_share")))
            self.notes |= {"binds": bound} if bound else {}

    @property
    def key(self) -> str:
        """Identity of the stage: its name, settings and input digests."""
        digests = {name: entry["sha256"] for name, entry in self.inputs.items()}
        return stage_key(self.stage, self.settings, digests)


def stage_key(stage: str, settings: dict[str, Any], digests: dict[str, str]) -> str:
    """Hex key that is the same whenever the same stage runs with the same settings on the same inputs."""
    return sha256_text(json.dumps([stage, settings, digests], sort_keys=True))[:16]


def only_one(path: Path) -> BaseFileLock:
    """Wait for the lock ``path``, which ends with the process that holds it, however that ends; release it afterwards.

    Raises
    ------
    OutOfTime
        If the job's own time is over before that.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock, clock = FileLock(path), Clock.of_this_job()
    try:
        lock.acquire(blocking=False)
        return lock
    except NotImplementedError:
        say(f"{path.parent} lies on a file system without locks: make sure that no other process runs this stage.")
        return SoftFileLock(path)  # never acquired
    except Timeout:
        say(f"Another process runs this stage, perhaps left over from a workflow that was killed; waiting for it to end ({path.name}).")
    while True:
        try:
            lock.acquire(timeout=10)
            return lock
        except Timeout:
            clock.check(path.stem.removeprefix("."))


def git_state() -> dict[str, str | bool]:
    """Commit of the source tree and whether it has changes; empty outside a git checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=folder, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": bool(dirty.strip())}


def _peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB (its workers are in Snakemake's benchmark)."""
    import resource

    try:
        with open("/proc/self/status") as stream:
            kib = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kib = most // 1024 if platform.system() == "Darwin" else most
    return round(kib / 1024, 1)


def _peak_gpu_memory() -> dict[str, float]:
    """Most memory of a GPU that torch had given out at once, in MiB; no entry where there is none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"peak_gpu_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1)}


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("torch", "transformers", "datasets", "faiss-cpu", "snakemake", "ir-measures", "bm25s"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
