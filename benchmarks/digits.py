"""Which digits depend on threads and on the instruction set: one small experiment, trained and embedded under each.

    python benchmarks/digits.py --out results/digits

A language model and a retriever of the smoke test are trained with one thread and the instructions that the processor has; then again the same
way, with two threads, and with AVX2 alone, which torch, oneDNN and MKL are asked for by their variables. Weights, curves and what the retriever
finds are compared with the first; and the first's weights embed corpus and queries under each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from faults import ROOT, small_experiment

WAYS: dict[str, tuple[int, dict[str, str]]] = {
    "once more": (1, {}),
    "two threads": (2, {}),
    "torch with AVX2": (1, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "oneDNN with AVX2": (1, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "MKL with AVX2": (1, {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    "all three with AVX2": (1, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
}
BEFORE = ["prepare-corpus", "train-tokenizer", "index-bm25", "search-bm25", "mine-negatives --model bm25"]
TRAINED = ["train --model base", "train --model retriever"]
FOUND = ["encode --model retriever", "build-index --model retriever", "search-index --model retriever"]

RUN = """
import sys
from simlm.cli import main
for command in sys.argv[1:]:
    if code := main([*command.split(), "--config", "config.yaml"]):
        sys.exit(code)
"""


def run(folder: Path, threads: int, variables: dict[str, str], commands: list[str]) -> None:
    """Run commands of simlm in a folder, in one process."""
    values = small_experiment()
    for model in values["models"].values():
        model["threads"] = threads
    values.setdefault("encoding", {})["threads"] = threads
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    with open(folder / "log", "ab") as log:
        subprocess.run([sys.executable, "-c", RUN, *commands], cwd=folder, env=environment, check=True, stdout=log, stderr=log)


def results(folder: Path) -> Path:
    return next((folder / "results").iterdir())


def weights(folder: Path, model: str) -> np.ndarray:
    """All weights of a model as one vector, float64."""
    from safetensors.numpy import load_file

    tensors = load_file(results(folder) / "models" / model / "model.safetensors")
    return np.concatenate([tensors[name].ravel().astype(np.float64) for name in sorted(tensors)])


def vectors(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(file).astype(np.float64) for file in sorted((results(folder) / "embeddings" / "retriever").glob("*-of-*.npy"))])


def losses(folder: Path) -> np.ndarray:
    lines = (results(folder) / "training" / "retriever.history.jsonl").read_text().splitlines()
    return np.array([value["loss"] for line in lines if "loss" in (value := json.loads(line))])


def best(folder: Path) -> dict[str, list[str]]:
    """Query → its ten best passages, over all judged splits."""
    found: dict[str, list[str]] = {}
    for file in sorted((results(folder) / "runs" / "retriever").glob("*.trec")):
        for line in file.read_text().splitlines():
            query, _, passage, *_ = line.split()
            found.setdefault(query, []).append(passage)
    return {query: passages[:10] for query, passages in found.items()}


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Norm of the difference over the norm."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def other_lists(one: dict[str, list[str]], other: dict[str, list[str]]) -> str:
    return f"{sum(one[query] != other[query] for query in one)} of {len(one)}"


def main(argv: list[str] | None = None) -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="empty folder")
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    first = out / "first"
    first.mkdir(parents=True)
    run(first, 1, {}, BEFORE)
    shutil.copytree(first, out / "prepared")
    run(first, 1, {}, [*TRAINED, *FOUND])
    print("| | weights: base, retriever | its loss | best ten | same weights: vectors | best ten |\n|---|---|---|---|---|---|", flush=True)
    for number, (way, (threads, variables)) in enumerate(WAYS.items(), 1):
        trained, embedded = out / f"trained{number}", out / f"embedded{number}"
        shutil.copytree(out / "prepared", trained)
        run(trained, threads, variables, [*TRAINED, *FOUND])
        shutil.copytree(out / "prepared", embedded)
        shutil.copytree(results(first) / "models", results(embedded) / "models")
        run(embedded, threads, variables, FOUND)
        cells = [
            ", ".join(f"{apart(weights(first, model), weights(trained, model)):.0e}" for model in ("base", "retriever")),
            f"{apart(losses(first), losses(trained)):.0e}",
            other_lists(best(first), best(trained)),
            f"{apart(vectors(first), vectors(embedded)):.0e}",
            other_lists(best(first), best(embedded)),
        ]
        print(f"| {way} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
