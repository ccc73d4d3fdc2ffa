"""What a GPU does in the paper's stages: the real commands on models of BERT-base's shape, with its share of the hardware's peak.

    python benchmarks/accelerator.py --folder /tmp/accelerator --peak-tflops 989
    python benchmarks/accelerator.py --folder /tmp/accelerator --prepare           (text, corpus, vocabulary, negatives; needs no GPU)

The text is that of `scale/synthetic_text.py`, the weights are random: what is measured is speed. A training's speed is that of its
steps after the first `log_steps`, an encoding's and scoring's that of the loop, without the start of the process. The operations are those that
`simlm plan` counts for texts as long as these. Batches are one GPU's share of config/msmarco.yaml. A Markdown table is printed and
written to `accelerator.md` in the folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent / "scale"))

import stand_ins

from simlm.config import Experiment, load_experiment
from simlm.paths import Paths
from simlm.planning.counts import count
from simlm.planning.lengths import mean_cut, tokens_of
from simlm.planning.work import Workload

HERE = Path(__file__).resolve().parent
WARM_UP, STEPS = 20, 60
PAIRS_PER_QUERY = 24
"""Passages per query that the teacher scores: a positive and 23 hard negatives."""


def configuration(folder: Path, threads: int, quick: bool) -> dict:
    """The paper's stages with one GPU's share of their batches, for as many steps as a measurement needs."""
    number, warm_up, passages = (4, 2, 32) if quick else (STEPS, WARM_UP, 256)
    steps = {"steps": number, "warmup_steps": 1, "log_steps": warm_up, "checkpoint_steps": 10 * STEPS, "threads": threads}
    simlm = {"kind": "bottleneck", "init": str(folder / "bert"), "generator": str(folder / "generator"), "holdout": 64, "probe": None, **steps}
    # A whole step of the paper, which one GPU takes in sixteen pieces.
    simlm |= {"max_length": 144, "steps": 3 if quick else 18, "log_steps": 1 if quick else 6, "batch_size": 8 * passages, "micro_batch_size": passages // 2}
    retriever = {"kind": "biencoder", "init": str(folder / "bert"), "negatives": "bm25", "hard_negatives": 15, "holdout": 10, "temperature": 0.02, **steps}
    retriever |= {"query_length": 32, "passage_length": 144, "batch_size": 16}
    reranker = {"kind": "crossencoder", "init": str(folder / "electra"), "negatives": "bm25", "hard_negatives": 63, "holdout": 10, **steps}
    reranker |= {"forward_factor": 4, "rdrop_weight": 1.0, "max_length": 192, "rerank_depth": 200, "batch_size": 8}
    return {
        "name": "accelerator",
        "results": str(folder / "results"),
        "corpus": {"source": "beir", "path": str(folder / "beir"), "splits": {split: split for split in ("train", "dev", "dl")}},
        "tokenizer": {"vocabulary": 30522},
        "negatives": {"depth": 200, "sample": 200, "pad_to": 210},
        "models": {
            "simlm": simlm,
            "retriever": retriever,
            "retriever_pieces": {**retriever, "batch_size": 64, "micro_batch_size": 16},
            "reranker": reranker,
        },
        "encoding": {"shards": 1, "threads": threads, "batch_size": 256, "gpus": 1},
        "evaluate": {"systems": ["bm25"], "splits": {"dev": {}}, "main_split": "dev"},
    }


@dataclass(frozen=True)
class Bench:
    """The folder of a measurement and what lies in it."""

    folder: Path
    peak: float
    experiment: Experiment

    @property
    def paths(self) -> Paths:
        return Paths(self.folder / "results" / "accelerator")

    def simlm(self, *words: str) -> None:
        """Run a command of the project, with its output in a log."""
        log = self.folder / "logs" / f"{'-'.join(word for word in words if not word.startswith('--'))}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "simlm.cli", words[0], "--config", str(self.folder / "accelerator.yaml"), *words[1:]]
        with open(log, "w") as stream, Watch() as watch:
            code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
        if code:
            raise SystemExit(f"{' '.join(words)} failed:\n{log.read_text()[-3000:]}")
        print(f"{' '.join(words)}: {watch}", flush=True)

    def workload(self, tokens: float) -> Workload:
        """The experiment with passages of ``tokens`` tokens on average, cut as they are, as the plan counts them."""
        words = next(words for words in np.arange(10, 500, 0.25) if mean_cut(tokens_of(words, 30522), 144) >= min(tokens, 143))
        return Workload(self.experiment, dataclasses.replace(count(self.experiment, self.paths), words=float(words)))

    def row(self, what: str, batch: str, rate: str, tokens: float, operations: float) -> str:
        """A line of the table; ``operations`` are those of a second."""
        tflops = operations / 1e12
        return f"| {what} | {batch} | {rate} | {tokens:.0f} | {tflops:.0f} | {tflops / self.peak:.1%} |"


class Watch:
    """Time, and what nvidia-smi sees meanwhile: the most memory and the median of the utilisation while there is any."""

    def __enter__(self) -> Watch:
        self.start = time.monotonic()
        query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,power.draw", "--format=csv,noheader,nounits", "-lms", "250"]
        try:
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self.process = None
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.seen = time.monotonic() - self.start, ""
        if self.process:
            self.process.terminate()
            lines = [line.split(",") for line in self.process.communicate()[0].splitlines() if line.count(",") == 2]
            samples = np.array([[float(cell) for cell in line] for line in lines if all(re.fullmatch(r"\s*[\d.]+\s*", cell) for cell in line)])
            if len(samples):
                busy = samples[samples[:, 0] > 0]
                median = np.median(busy, axis=0) if len(busy) else np.zeros(3)
                self.seen = f"; GPU: at most {samples[:, 1].max() / 1024:.1f} GiB, median while busy {median[0]:.0f} % and {median[2]:.0f} W"

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s{self.seen}"


def write_models(folder: Path, tokenizer: Path, quick: bool) -> None:
    """Random weights in the shapes of bert-base, ELECTRA's base generator and its base discriminator."""
    from transformers import BertConfig, BertForMaskedLM, ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    from simlm.models.loading import load_tokenizer

    own = load_tokenizer(tokenizer)
    words, base = len(own), {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    generator = {"embedding_size": 768, "hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
    if quick:
        base = generator = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    for name, model in (
        ("bert", lambda: BertForMaskedLM(BertConfig(vocab_size=words, **base))),
        ("generator", lambda: ElectraForMaskedLM(ElectraConfig(vocab_size=words, **generator))),
        ("electra", lambda: ElectraForPreTraining(ElectraConfig(vocab_size=words, **{"embedding_size": 768, **base}))),
    ):
        if not (folder / name / "config.json").exists():
            model().save_pretrained(folder / name)
            own.save_pretrained(folder / name)


def prepare(bench: Bench, passages: int) -> None:
    """Text, corpus, vocabulary, and random negatives."""
    if not (bench.folder / "beir" / "corpus.jsonl").exists():
        command = [sys.executable, str(HERE / "scale" / "synthetic_text.py"), "--passages", str(passages), "--folder", str(bench.folder / "beir")]
        subprocess.run([*command, "--train-queries", "8000"], check=True)
    if not (bench.paths.tokenizer / "manifest.json").exists():
        bench.simlm("prepare-corpus")
        bench.simlm("train-tokenizer")
    if not bench.paths.negatives("bm25").exists():
        stand_ins.write_run(bench.paths, "bm25", 200)
        bench.simlm("mine-negatives", "--model", "bm25")


def rate(bench: Bench, model: str, name: str) -> float:
    """Median of a training's speeds after the first ones."""
    lines = [json.loads(line) for line in bench.paths.history(model).read_text().splitlines()]
    return float(np.median([line[name] for line in lines if name in line][1:]))


def pretraining(bench: Bench, model: str) -> str:
    bench.simlm("train", "--model", model)
    tokens, passages = rate(bench, model, "tokens_per_second"), rate(bench, model, "examples_per_second")
    work, block = bench.workload(tokens / passages), bench.experiment.models[model]
    operations = work.training(model).operations / (block.batch_size * block.steps)
    batch = f"{block.batch_size} passages in pieces of {block.micro_batch_size}"
    return bench.row("pre-training", batch, f"{tokens:,.0f} tokens/s", tokens / passages, operations * passages)


def fine_tuning(bench: Bench, model: str, passage: float) -> str:
    bench.simlm("train", "--model", model)
    queries, block = rate(bench, model, "examples_per_second"), bench.experiment.models[model]
    operations = bench.workload(passage).training(model).operations / (block.steps * block.batch_size)
    batch = f"{block.batch_size} queries × {1 + block.hard_negatives} passages"
    pieces = f" in pieces of {block.micro_batch_size}" if block.micro_batch_size else ""
    return bench.row(f"training the {block.kind}", batch + pieces, f"{queries:,.1f} queries/s", passage, operations * queries)


def encoding(bench: Bench, passage: float) -> str:
    """The command's loop over the corpus, three times, from the first blocks on; the start of the processes that tokenize does not count."""
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import choose_precision
    from simlm.hardware import prepare as prepare_torch
    from simlm.retrieval.encode import BLOCK, tokens_of_blocks
    from simlm.retrieval.encoder import TextEncoder
    from simlm.text.token_cache import TokenCache

    settings = bench.experiment.encoding
    prepare_torch(settings.threads)
    store, encoder = CorpusStore(bench.paths.corpus), TextEncoder(bench.paths.model("retriever"), choose_precision("auto"), settings.batch_size)
    blocks = [(first, min(first + BLOCK, len(store))) for first in range(0, len(store), BLOCK)] * 3
    cache = TokenCache(store, encoder.tokenizer, encoder.lengths["passage"], bench.paths.tokens)
    passages, start = 0, 0.0
    with Watch() as watch:
        for number, tokens in enumerate(tokens_of_blocks(encoder, cache, blocks)):
            encoder.embed(tokens)
            passages += len(tokens)
            if number == 15:
                passages, start = 0, time.monotonic()
    speed = passages / (time.monotonic() - start)
    print(f"encoding: {watch}", flush=True)
    batch = f"{settings.batch_size} passages"
    return bench.row("encoding", batch, f"{speed:,.0f} passages/s", passage, bench.workload(passage).encoding("retriever") * speed)


def scoring(bench: Bench, passage: float) -> str:
    """The teacher's scores of random pairs, from the end of the first block on."""
    from simlm.context import Context
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import choose_precision
    from simlm.hardware import prepare as prepare_torch
    from simlm.models.crossencoder import PairScorer
    from simlm.training.teacher import score_visited

    prepare_torch(bench.experiment.models["reranker"].threads)
    context = Context(bench.experiment, bench.paths)
    store, scorer = CorpusStore(context.paths.corpus), PairScorer.open(context.paths.model("reranker"), choose_precision("auto"))
    queries = store.queries("train")
    rows = np.random.default_rng(3).integers(0, len(store), len(queries) * PAIRS_PER_QUERY).astype(np.int32)
    offsets = np.arange(len(queries) + 1) * PAIRS_PER_QUERY
    with Watch() as watch:
        times, pairs = [], []
        for _, own, _ in score_visited(scorer, store, list(queries), list(queries.values()), rows, offsets, context.paths.root / "training"):
            times.append(time.monotonic())
            pairs.append(len(own))
    print(f"scoring {len(rows):,} pairs: {watch}", flush=True)
    first = next(i for i, moment in enumerate(times) if moment - times[0] > 0.05)
    speed = sum(pairs[first:]) / (times[-1] - times[0])
    return bench.row("scoring pairs", "16,384 tokens", f"{speed:,.0f} pairs/s", passage, bench.workload(passage).scoring("reranker") * speed)


def searching(bench: Bench, passages: int, queries: int = 6_980, depth: int = 1_000) -> str:
    """Exact search of vectors in the host's memory on the GPU."""
    from simlm.indexes.from_shards import ShardedSearch

    class Vectors:
        def blocks(self, size: int):
            for first in range(0, passages, size):
                yield first, block[: passages - first]

    search = ShardedSearch(Vectors(), device="cuda")
    block = np.random.default_rng(4).standard_normal((search.block, 768), np.float32)
    asked = np.random.default_rng(5).standard_normal((queries, 768), np.float32)
    search(asked[:64], depth)
    with Watch() as watch:
        search(asked, depth)
    print(f"searching {passages:,} vectors: {watch}", flush=True)
    operations = 2 * queries * passages * 768 / watch.seconds
    return bench.row("exact search", f"{queries:,} queries", f"{queries * passages / watch.seconds / 1e9:,.1f}·10⁹ pairs/s", 0, operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=40_000)
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 operations per second of the data sheet, in 10¹² (H100 and H200: 989)")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="tiny models and few steps, to try this program")
    parser.add_argument("--prepare", action="store_true", help="stop before what needs a GPU")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "accelerator.yaml").write_text(yaml.safe_dump(configuration(folder, arguments.threads, arguments.quick), sort_keys=False))
    os.chdir(HERE.parent)
    bench = Bench(folder, arguments.peak_tflops, load_experiment(folder / "accelerator.yaml"))
    prepare(bench, arguments.passages)
    if arguments.prepare:
        return
    write_models(folder, bench.paths.tokenizer, arguments.quick)
    measure(bench)


def measure(bench: Bench) -> None:
    import torch

    from simlm.corpus.store import CorpusStore
    from simlm.models.loading import load_tokenizer
    from simlm.text.token_cache import TokenCache

    lines = ["| stage | a step, or a batch | speed | tokens per passage | Tflop/s | of the peak |", "|---|---|---|---|---|---|"]
    table = bench.folder / "accelerator.md"

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        table.write_text("\n".join([device, "", *lines, ""]))

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    add(pretraining(bench, "simlm"))
    cache = TokenCache(CorpusStore(bench.paths.corpus), load_tokenizer(bench.paths.tokenizer), 144, bench.paths.tokens)
    passage = float(cache.whole().lengths.mean())
    add(fine_tuning(bench, "retriever", passage))
    add(encoding(bench, passage))
    add(fine_tuning(bench, "reranker", passage))
    add(scoring(bench, passage))
    add(fine_tuning(bench, "retriever_pieces", passage))
    if torch.cuda.is_available():
        add(searching(bench, 1_000_000))


if __name__ == "__main__":
    main()
