"""Drive the real commands over a synthetic collection and print time and memory of each stage.

    python benchmarks/scale/run.py --passages 100000 --folder /tmp/scale/100k
    python benchmarks/scale/run.py --passages 8841823 --folder /tmp/scale/full --stages prepare_corpus random_run mine_negatives

The collection is made by `synthetic_text.py`, vectors and the model by `stand_ins.py` (random: what is measured is search, not
encoding). Stages that lack an input fail; without --stages all run in order. A Markdown table is printed and appended to
`measured.md` in the folder. CPU time is the figure to compare: wall time depends on who else uses the machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from measure import HEADER, measure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RETRIEVER = {"kind": "biencoder", "negatives": "bm25", "steps": 2, "batch_size": 4, "hard_negatives": 15, "holdout": 10, "threads": 1}
RERANKER = {"kind": "crossencoder", "negatives": "bm25", "steps": 2, "batch_size": 2, "holdout": 10, "threads": 1}


def configuration(folder: Path, factory: str, dtype: str) -> dict:
    """An experiment on the synthetic collection with the paper's depths."""
    return {
        "name": "scale",
        "results": str(folder / "results"),
        "corpus": {"source": "beir", "path": str(folder / "beir"), "splits": {split: split for split in ("train", "dev", "dl")}},
        "tokenizer": {"init": str(folder / "encoder")},
        "models": {
            "retriever": {**RETRIEVER, "init": str(folder / "encoder")},
            "reranker": {**RERANKER, "init": str(folder / "encoder")},
            "distilled": {**RETRIEVER, "init": str(folder / "encoder"), "teacher": "reranker", "hard_negatives": 23},
        },
        "encoding": {"shards": 4, "threads": 1, "dtype": dtype},
        "index": {"factory": factory},
        "evaluate": {"systems": ["bm25", "retriever"], "splits": {"dev": {}, "dl": {"relevance": 2}}, "main_split": "dev"},
    }


def simlm(command: str, *options: str) -> Callable[[argparse.Namespace], list[str]]:
    return lambda arguments: [sys.executable, "-m", "simlm.cli", command, "--config", str(arguments.folder / "scale.yaml"), *options]


def stand_in(call: str) -> Callable[[argparse.Namespace], list[str]]:
    opening = "import sys; sys.path.insert(0, {!r}); import stand_ins; from pathlib import Path; from simlm.paths import Paths; "

    def command(arguments: argparse.Namespace) -> list[str]:
        paths = f"paths = Paths(Path({str(arguments.folder / 'results' / 'scale')!r})); "
        return [sys.executable, "-c", opening.format(str(HERE)) + paths + call.format(folder=arguments.folder, dtype=arguments.dtype)]

    return command


def make_text(arguments: argparse.Namespace) -> list[str]:
    command = [sys.executable, str(HERE / "synthetic_text.py"), "--passages", str(arguments.passages), "--folder", str(arguments.folder / "beir")]
    return [*command, *(["--train-queries", str(arguments.train_queries)] if arguments.train_queries else [])]


STAGES: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "make_text": make_text,
    "make_encoder": stand_in("stand_ins.write_encoder(Path('{folder}') / 'encoder')"),
    "prepare_corpus": simlm("prepare-corpus"),
    "index_bm25": simlm("index-bm25"),
    "search_bm25": simlm("search-bm25", "--splits", "dev", "dl"),
    "search_bm25_train": simlm("search-bm25", "--splits", "train"),
    "random_run": stand_in("stand_ins.write_run(paths, 'bm25', 200)"),
    "mine_negatives": simlm("mine-negatives", "--model", "bm25"),
    "train_retriever": simlm("train", "--model", "retriever"),
    "train_reranker": simlm("train", "--model", "reranker"),
    "random_teacher_scores": stand_in("stand_ins.write_teacher_scores(paths, 'distilled', 'bm25', 138)"),
    "train_distilled": simlm("train", "--model", "distilled"),
    "random_retriever": stand_in("stand_ins.write_retriever(paths, 'retriever', Path('{folder}') / 'encoder')"),
    "random_vectors": stand_in("stand_ins.write_vectors(paths, 'retriever', 768, 4, '{dtype}')"),
    "search_shards": simlm("search-index", "--model", "retriever", "--splits", "dev", "dl", "--from-shards"),
    "build_index": simlm("build-index", "--model", "retriever"),
    "search_index": simlm("search-index", "--model", "retriever", "--splits", "dev", "dl"),
    "evaluate": simlm("evaluate"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--train-queries", type=int, default=None, help="default: in proportion to the passages")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--factory", default="Flat")
    parser.add_argument("--dtype", choices=["fp32", "fp16"], default="fp32", help="type of the stored vectors")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "scale.yaml").write_text(yaml.safe_dump(configuration(arguments.folder, arguments.factory, arguments.dtype), sort_keys=False))
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with open(arguments.folder / "measured.md", "a") as table:
        for text in (f"\n{arguments.passages:,} passages, {os.environ['OMP_NUM_THREADS']} thread(s)\n", HEADER):
            print(text, file=table)
            print(text)
        for stage in arguments.stages:
            row = measure(STAGES[stage](arguments), arguments.folder / "logs" / f"{stage}.log").row(stage)
            print(row, file=table, flush=True)
            print(row, flush=True)


if __name__ == "__main__":
    main()
