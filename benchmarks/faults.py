"""Kill an experiment at random moments, go on, and compare what comes out with an undisturbed run.

    python benchmarks/faults.py --kills 60 --runs 6 --tiny --out results/faults

Each run starts in an empty folder. At a random moment one of three things is given SIGKILL, SIGTERM or SIGINT: the process of a stage
(one of several where it has several), the whole process group with Snakemake in it (SIGINT is Ctrl-C), or Snakemake alone. Where that
was SIGKILL, its jobs go on without it. ``snakemake --unlock`` and the same command again follow, until the run has had its kills and is
complete. All results must be those of the undisturbed run: corpus, models, vectors, indexes, runs, tables and curves. The moments
follow from ``--seed``; what they hit depends on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
SNAKEFILE = ROOT / "workflow" / "Snakefile"

# More steps and checkpoints, so that kills fall into trainings, and shards and processes to fall between.
OVERLAY = {
    "models": {
        **{name: {"steps": 60, "checkpoint_steps": 4} for name in ("base", "generator", "simlm")},
        **{name: {"steps": 40, "checkpoint_steps": 4} for name in ("control", "retriever1", "retriever2", "reranker", "distilled")},
        "reranker": {"steps": 20, "checkpoint_steps": 2},
    },
    "encoding": {"shards": 2},
}


SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}

PATIENCE = 180.0
"""Seconds that Snakemake has to end after SIGTERM or SIGINT, which leave its jobs time; then it is killed."""

RESULTS = (
    "corpus/**/*", "tokenizer/*", "bm25/*", "models/*/**/*", "embeddings/*/*.npy", "index/*/*", "runs/**/*", "negatives/*", "teacher_scores/*",
    "evaluation/**/*", "metrics.tsv", "reproduction.tsv",
)  # fmt: skip
"""Files that must come out the same bits, cards (which tell of the machine) aside."""


def small_experiment() -> dict:
    """The lexical chain and one small retriever, from the configuration of the smoke test."""
    values = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    base, retriever = values["models"]["base"], values["models"]["control"]
    base.update(checkpoint_steps=3)
    retriever.update(negatives="bm25", holdout=0, checkpoint_steps=3)
    values["models"] = {"base": base, "retriever": retriever}
    values["evaluate"].update(systems=["bm25", "retriever"], baseline="bm25")
    values["tracking"] = {**(values.get("tracking") or {}), "live": False}
    return values


@dataclass
class Kill:
    """One kill and what followed."""

    run: int
    second: float
    signal: str
    victim: str
    stages: list[str]


class Chain:
    """One experiment in a folder of its own."""

    def __init__(self, folder: Path, configs: list[Path], cores: int) -> None:
        self.folder, self.cores = folder, cores
        self.configs = [str(config.resolve()) for config in configs]
        folder.mkdir(parents=True, exist_ok=True)
        self.output = open(folder / "snakemake.log", "ab")  # noqa: SIM115
        self.resumes: set[tuple[str, str]] = set()

    def command(self, *options: str) -> list[str]:
        start = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(self.folder)]
        return [*start, "--cores", str(self.cores), "--configfile", *self.configs, *options]

    def start(self, *options: str) -> subprocess.Popen:
        """Start it in a process group of its own, deaf to no signal: a shell's background jobs, and all that they start, ignore Ctrl-C."""

        def listen() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        how = {"start_new_session": True, "preexec_fn": listen, "cwd": self.folder}
        return subprocess.Popen(self.command(*options), stdout=self.output, stderr=subprocess.STDOUT, **how)

    def unlock(self) -> None:
        assert self.start("--unlock").wait() == 0, f"{self.folder}: --unlock failed"

    @property
    def results(self) -> Path:
        return next(path for path in (self.folder / "results").iterdir() if (path / "corpus").exists())

    def note_resumes(self) -> None:
        """Collect the stages that said that they go on from a checkpoint or a finished block; each attempt overwrites its log."""
        for log in self.folder.glob("results/*/logs/*.log"):
            for line in re.findall(r"^(?:Resuming from .*|Going on after .*|.* already\.)$", log.read_text(errors="replace"), flags=re.MULTILINE):
                self.resumes.add((log.stem, line))

    def stages(self) -> list[tuple[psutil.Process, str]]:
        """Running processes of stages that write into this folder, with the stages' names."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if "simlm" in " ".join(words[:3]) and "python" in words[0] and process.cwd() == str(self.folder) and (name := stage_of(words)):
                    found.append((process, name))
            except (psutil.Error, IndexError):
                continue
        return found


def stage_of(words: list[str]) -> str | None:
    """Name of the stage behind a command line, such as ``train distilled``; None for launchers and other commands.

    >>> stage_of(["python", "-m", "simlm.cli", "train", "--config", "c", "--model", "distilled"])
    'train distilled'
    """
    place = next((i for i, word in enumerate(words[:4]) if word == "simlm.cli" or word.endswith("/simlm")), None)
    if place is None or place + 1 >= len(words):
        return None
    options = dict(itertools.pairwise(words))
    return " ".join(filter(None, [words[place + 1], options.get("--model"), options.get("--shard")]))


def kill_something(chain: Chain, driver: subprocess.Popen, draw: random.Random, name: str) -> tuple[str, list[str]]:
    """Give a stage, everything, or the driver alone a signal; returns what was given it and the stages that ran."""
    running = chain.stages()
    names = sorted({name for _, name in running})
    victim = draw.choice(["stage", "group", "driver"])
    if victim == "stage" and running:
        process, stage = draw.choice(running)
        try:
            process.send_signal(SIGNALS[name])
        except psutil.NoSuchProcess:
            return "nothing", []
        return "stage", [stage]
    if driver.poll() is not None:
        return "nothing", []
    if victim == "driver":
        driver.send_signal(SIGNALS[name])
    else:
        victim = "group"
        os.killpg(driver.pid, SIGNALS[name])
    try:
        driver.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)
        victim = f"{victim}, killed after {PATIENCE:.0f} s"
        driver.wait()
    return victim, names


def disturbed(number: int, chain: Chain, kills: int, draw: random.Random, mean: float, signals: list[str]) -> list[Kill]:
    """Run the chain to its end with ``kills`` kills, on average ``mean`` seconds apart."""
    done: list[Kill] = []
    begin = time.monotonic()
    while True:
        driver = chain.start()
        # No sooner than Snakemake's own start, or nothing would ever get anywhere.
        end = time.monotonic() + 4 + draw.expovariate(1 / mean) if len(done) < kills else None
        while driver.poll() is None and (end is None or time.monotonic() < end):
            time.sleep(0.05)
        chain.note_resumes()
        if driver.poll() is None:
            name, second = draw.choice(signals), round(time.monotonic() - begin, 1)
            victim, stages = kill_something(chain, driver, draw, name)
            if victim != "nothing":
                done.append(Kill(number, second, name, victim, stages))
                print(f"run {number}: {second:6.1f} s  {name:<4} {victim:<6} {', '.join(stages) or '-'}", flush=True)
        code = driver.wait()
        chain.note_resumes()
        if code == 0:
            return done
        if not done:
            raise SystemExit(f"{chain.folder}: failed before anything was killed; see snakemake.log")
        chain.unlock()
        if end is None and code:
            failures = sum(
                1 for line in (chain.folder / "snakemake.log").read_text(errors="replace").splitlines() if "Exiting because a job execution failed" in line
            )
            if failures > kills + 2:
                raise SystemExit(f"{chain.folder}: it does not recover; see snakemake.log")


def outcome(chain: Chain) -> dict[str, str]:
    """Digests of what must not depend on the kills."""
    from simlm.files import sha256_file, sha256_text
    from simlm.metering import SPEEDS

    results = chain.results
    files = {file for pattern in RESULTS for file in results.glob(pattern) if file.is_file() and file.name != "README.md" and not file.name.startswith(".")}
    found = {str(file.relative_to(results)): sha256_file(file) for file in sorted(files)}
    for history in sorted(results.glob("training/*.history.jsonl")):
        lines = [json.loads(line) for line in history.read_text().splitlines()]
        kept = [{name: value for name, value in line.items() if name not in SPEEDS} for line in lines]
        found[f"curve {history.name.split('.')[0]}"] = sha256_text(json.dumps(kept, sort_keys=True))
    return found


def together(digests: dict[str, str]) -> str:
    """One digest of all, to be compared by eye."""
    from simlm.files import sha256_text

    return sha256_text(json.dumps(digests, sort_keys=True))[:12]


def leftovers(chain: Chain) -> list[str]:
    """Temporary files and checkpoints that a finished run should not have."""
    found = [path for pattern in ("*.tmp", "*.old", "checkpoint-*", "*.partial", "*.set-aside-*") for path in chain.results.rglob(pattern)]
    return sorted(str(path.relative_to(chain.results)) for path in found)


def main(argv: list[str] | None = None) -> int:
    """Run everything; returns 1 if something came out differently."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="empty folder for the runs and faults.json")
    parser.add_argument("--config", type=Path, nargs="+", default=[ROOT / "config" / "smoke.yaml"])
    parser.add_argument("--no-overlay", action="store_true", help="take the configuration as it is")
    parser.add_argument("--tiny", action="store_true", help="the lexical chain and one small retriever instead of a configuration")
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=list(SIGNALS))
    parser.add_argument("--kills", type=int, default=30, help="over all runs")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    configs = list(arguments.config)
    if arguments.tiny:
        configs = [out / "tiny.yaml"]
        configs[0].write_text(yaml.safe_dump(small_experiment()))
    elif not arguments.no_overlay:
        (out / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
        configs.append(out / "overlay.yaml")

    begin = time.monotonic()
    reference = Chain(out / "reference", configs, arguments.cores)
    if reference.start().wait():
        raise SystemExit(f"the undisturbed run failed; see {out / 'reference' / 'snakemake.log'}")
    seconds, expected = time.monotonic() - begin, outcome(reference)
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} digests, together {together(expected)}", flush=True)

    draw, kills, runs = random.Random(arguments.seed), [], []
    for number in range(1, arguments.runs + 1):
        share = arguments.kills * number // arguments.runs - arguments.kills * (number - 1) // arguments.runs
        chain, start = Chain(out / f"run{number}", configs, arguments.cores), time.monotonic()
        done = disturbed(number, chain, share, draw, max(2.0, seconds / (share + 1)), arguments.signals)
        found = outcome(chain)
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        runs.append({"kills": len(done), "seconds": round(time.monotonic() - start), "different": different, "leftovers": leftovers(chain)})
        runs[-1]["together"] = together(found)
        runs[-1]["resumes"] = sorted(map(list, chain.resumes))
        kills += done
        same = "identical" if not different else "DIFFERENT: " + ", ".join(different)
        left = runs[-1]["leftovers"] or "nothing"
        print(f"run {number}: {len(done)} kills, {len(chain.resumes)} resumes, {same} ({together(found)}), left over: {left}", flush=True)
        about = {"reference_seconds": round(seconds), "digests": len(expected), "together": together(expected), "each": expected}
        report = {**about, "runs": runs, "kills": [asdict(kill) for kill in kills]}
        (out / "faults.json").write_text(json.dumps(report, indent=1))
    print(table(kills, runs))
    return int(any(run["different"] for run in runs) or len(kills) < arguments.kills)


def table(kills: list[Kill], runs: list[dict]) -> str:
    """The result as a table."""
    stages = Counter(name.split()[0] for kill in kills for name in kill.stages)
    lines = ["| signal | kills | of a stage | of everything | of Snakemake alone |", "|---|---|---|---|---|"]
    for name in SIGNALS:
        victims = Counter(kill.victim.split(",")[0] for kill in kills if kill.signal == name)
        lines.append(f"| SIG{name} | {sum(victims.values())} | {victims['stage']} | {victims['group']} | {victims['driver']} |")
    resumes, same = sum(len(run["resumes"]) for run in runs), sum(not run["different"] for run in runs)
    lines += ["", f"{len(kills)} kills in {len(runs)} runs, {same} of them identical; {resumes} stages went on from a checkpoint or block"]
    lines += ["Stages that were running: " + ", ".join(f"{name} {count}" for name, count in stages.most_common())]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
