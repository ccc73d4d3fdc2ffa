"""What an accelerator does in the paper's stages, before and after: padded batches in the pieces of old, and rows of packed tokens in larger ones.

    python benchmarks/accelerator.py --folder /tmp/accelerator                     (under eight minutes of one H100)
    python benchmarks/accelerator.py --folder /tmp/accelerator --prepare           (text, corpus, vocabulary, negatives; needs no GPU)
    python benchmarks/accelerator.py --folder /tmp/tiny --tiny                     (tiny models on a processor: does it run?)

These are the real commands on models of BERT-base's shape. The text is that of `scale/synthetic_text.py`, the weights are random: what is measured is speed.
A training's speed is that of its steps after the first `log_steps`, an encoding's and scoring's that of the loop, without the start of the
process. The operations are those that `simlm plan` counts for texts as long as these; waiting, padding and memory are those of the stages' records
(docs/scale.md). Batches are one GPU's share of config/msmarco.yaml. Two checks compare both ways of reading: vectors of the same passages, and
the loss of a training without dropout, step by step. All of it is printed and written to `accelerator.md` in the folder.
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
from simlm.metering import Meter, binds, metered
from simlm.paths import Paths
from simlm.planning.counts import count
from simlm.planning.lengths import mean_cut, tokens_of
from simlm.planning.work import Workload
from simlm.training.history import read_history

HERE = Path(__file__).resolve().parent
WARM_UP, STEPS = 20, 60
PAIRS_PER_QUERY = 24
"""Passages per query that the teacher scores: a positive and 23 hard negatives."""


PACKED = "_packed"
"""Ends the names of the models that read rows of packed tokens."""


def configuration(folder: Path, threads: int, tiny: bool, packing: bool) -> dict:
    """The paper's stages with one GPU's share of their batches, for as many steps as a measurement needs.

    The models of both ways of reading stand in the same configuration, which differs in ``packing`` alone.
    """
    number, warm_up, passages = (2, 1, 4) if tiny else (STEPS, WARM_UP, 256)
    steps = {"steps": number, "warmup_steps": 1, "log_steps": warm_up, "checkpoint_steps": 10 * STEPS, "threads": threads}
    simlm = {"kind": "bottleneck", "init": str(folder / "bert"), "generator": str(folder / "generator"), "holdout": 64, "probe": None, **steps}
    # A whole step of the paper, which one GPU takes in sixteen pieces.
    simlm |= {"max_length": 144, "steps": 2 if tiny else 18, "log_steps": 1 if tiny else 6, "batch_size": 8 * passages, "micro_batch_size": passages // 2}
    retriever = {"kind": "biencoder", "init": str(folder / "bert"), "negatives": "bm25", "hard_negatives": 3 if tiny else 15, "holdout": 10, **steps}
    retriever |= {"temperature": 0.02, "query_length": 32, "passage_length": 144, "batch_size": 16}
    reranker = {"kind": "crossencoder", "init": str(folder / "electra"), "negatives": "bm25", "hard_negatives": 7 if tiny else 63, "holdout": 10, **steps}
    reranker |= {"forward_factor": 4, "rdrop_weight": 1.0, "max_length": 192, "rerank_depth": 200, "batch_size": 8}
    check = {**retriever, "dropout": 0.0, "steps": 4 if tiny else 100, "log_steps": 1}
    return {
        "name": "accelerator",
        "results": str(folder / "results"),
        "corpus": {"source": "beir", "path": str(folder / "beir"), "splits": {split: split for split in ("train", "dev", "dl")}},
        "tokenizer": {"vocabulary": 2_000 if tiny else 30_522},
        "negatives": {"depth": 200, "sample": 200, "pad_to": 210},
        "models": {
            "simlm": simlm,
            "simlm_packed": {**simlm, "micro_batch_size": 2 * passages},
            "retriever": retriever,
            "retriever_packed": retriever,
            "pieces": {**retriever, "batch_size": 64, "micro_batch_size": 16},
            "pieces_packed": {**retriever, "batch_size": 64},
            "reranker": reranker,
            "reranker_packed": reranker,
            "check": check,
            "check_packed": check,
        },
        **({"packing": True} if packing else {}),
        "encoding": {"shards": 1, "threads": threads, "batch_size": 256, "gpus": 1},
        "evaluate": {"systems": ["bm25"], "splits": {"dev": {}}, "main_split": "dev"},
    }


@dataclass(frozen=True)
class Bench:
    """The folder of a measurement and what lies in it."""

    folder: Path
    peak: float
    experiments: dict[bool, Experiment]

    def experiment_of(self, model: str) -> Experiment:
        """The experiment whose way of reading a model has."""
        return self.experiments[model.endswith(PACKED)]

    @property
    def experiment(self) -> Experiment:
        return self.experiments[False]

    @property
    def paths(self) -> Paths:
        return Paths(self.folder / "results" / "accelerator")

    def simlm(self, *words: str) -> None:
        """Run a command of the project, with its output in a log."""
        log = self.folder / "logs" / f"{'-'.join(word for word in words if not word.startswith('--'))}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"accelerator{PACKED if words[-1].endswith(PACKED) else ''}.yaml"
        command = [sys.executable, "-m", "simlm.cli", words[0], "--config", str(file), *words[1:]]
        with open(log, "w") as stream, Watch() as watch:
            code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
        if code:
            raise SystemExit(f"{' '.join(words)} failed:\n{log.read_text()[-3000:]}")
        print(f"{' '.join(words)}: {watch}", flush=True)

    def workload(self, tokens: float) -> Workload:
        """The experiment with passages of ``tokens`` tokens on average, cut as they are, as the plan counts them."""
        words = next(words for words in np.arange(10, 500, 0.25) if mean_cut(tokens_of(words, 30522), 144) >= min(tokens, 143))
        return Workload(self.experiment, dataclasses.replace(count(self.experiment, self.paths), words=float(words)))

    def row(self, what: str, batch: str, rate: str, tokens: float, operations: float, said: dict | None = None) -> str:
        """A line of the table; ``operations`` are those of a second, ``said`` the record of the stage."""
        said, tflops = said or {"metrics": {}, "notes": {}}, operations / 1e12
        shares = [f"{said['metrics'][name]:.1%}" if name in said["metrics"] else "–" for name in ("padding", "waited")]
        memory = f"{said['peak_gpu_memory_mib'] / 1024:.1f} GiB" if said.get("peak_gpu_memory_mib") else "–"
        cells = [what, batch, rate, f"{tokens:.0f}", f"{tflops:.1f}", f"{tflops / self.peak:.1%}", *shares, memory, said["notes"].get("binds", "–")]
        return f"| {' | '.join(cells)} |"

    def record(self, model: str) -> dict:
        return json.loads(self.paths.record(f"train.{model}").read_text())


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


def write_models(folder: Path, tokenizer: Path, tiny: bool) -> None:
    """Random weights in the shapes of bert-base, ELECTRA's base generator and its base discriminator."""
    from transformers import BertConfig, BertForMaskedLM, ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    from simlm.models.loading import load_tokenizer

    own = load_tokenizer(tokenizer)
    words, base = len(own), {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    generator = {"embedding_size": 768, "hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
    if tiny:
        base = generator = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    for name, model in (
        ("bert", lambda: BertForMaskedLM(BertConfig(vocab_size=words, **base))),
        ("generator", lambda: ElectraForMaskedLM(ElectraConfig(vocab_size=words, **generator))),
        ("electra", lambda: ElectraForPreTraining(ElectraConfig(vocab_size=words, **{"embedding_size": 768, **base}))),
    ):
        if not (folder / name / "config.json").exists():
            model().save_pretrained(folder / name)
            own.save_pretrained(folder / name)


def prepare(bench: Bench, passages: int, queries: int) -> None:
    """Text, corpus, vocabulary, and random negatives."""
    if not (bench.folder / "beir" / "corpus.jsonl").exists():
        command = [sys.executable, str(HERE / "scale" / "synthetic_text.py"), "--passages", str(passages), "--folder", str(bench.folder / "beir")]
        subprocess.run([*command, "--train-queries", str(queries)], check=True)
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


def way(model: str) -> str:
    """How a model reads, for the first column."""
    return ", packed" if model.endswith(PACKED) else ""


def pretraining(bench: Bench, model: str) -> str:
    bench.simlm("train", "--model", model)
    tokens, passages = rate(bench, model, "tokens_per_second"), rate(bench, model, "examples_per_second")
    work, block = bench.workload(tokens / passages), bench.experiment_of(model).models[model]
    operations = work.training(model).operations / (block.batch_size * block.steps)
    batch = f"{block.batch_size} passages in pieces of {block.micro_batch_size}"
    return bench.row(f"pre-training{way(model)}", batch, f"{tokens:,.0f} tokens/s", tokens / passages, operations * passages, bench.record(model))


def fine_tuning(bench: Bench, model: str, passage: float) -> str:
    bench.simlm("train", "--model", model)
    queries, block = rate(bench, model, "examples_per_second"), bench.experiment_of(model).models[model]
    operations = bench.workload(passage).training(model).operations / (block.steps * block.batch_size)
    batch = f"{block.batch_size} queries × {1 + block.hard_negatives} passages"
    pieces = f" in pieces of {block.micro_batch_size}" if block.micro_batch_size else ""
    return bench.row(f"training the {block.kind}{way(model)}", batch + pieces, f"{queries:,.1f} queries/s", passage, operations * queries, bench.record(model))


def encoding(bench: Bench, passage: float, packed: bool) -> str:
    """The command's loop over the corpus, three times, from the first blocks on; the start of the processes that tokenize does not count."""
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import choose_precision
    from simlm.hardware import prepare as prepare_torch
    from simlm.retrieval.encode import BLOCK
    from simlm.retrieval.encoder import TextEncoder
    from simlm.text.token_blocks import token_blocks
    from simlm.text.token_cache import TokenCache

    settings = bench.experiment.encoding
    prepare_torch(settings.threads)
    batch_size = BLOCK if packed else settings.batch_size
    store, encoder = CorpusStore(bench.paths.corpus), TextEncoder(bench.paths.model("retriever"), choose_precision("auto"), batch_size)
    if packed and (reason := encoder.pack()):
        raise SystemExit(f"it cannot be packed: {reason}")
    blocks = [(first, min(first + BLOCK, len(store))) for first in range(0, len(store), BLOCK)] * 3
    cache = TokenCache(store, encoder.tokenizer, encoder.lengths["passage"], bench.paths.tokens)
    passages, warm, seconds = 0, min(15, len(blocks) // 3), 0.0
    with metered() as meter, Watch() as watch:
        for number, tokens in enumerate(token_blocks(cache, blocks, encoder.device.type)):
            encoder.embed(tokens)
            passages += len(tokens)
            if number == warm:
                meter.take(1.0, 0)
                passages, start = 0, time.monotonic()
        seconds = time.monotonic() - start
    print(f"encoding{', packed' if packed else ''}: {watch}", flush=True)
    return bench.row(
        f"encoding{', packed' if packed else ''}",
        f"{batch_size} passages",
        f"{passages / seconds:,.0f} passages/s",
        passage,
        bench.workload(passage).encoding("retriever") * passages / seconds,
        measured(meter, seconds, passages),
    )


def measured(meter: Meter, seconds: float, units: float) -> dict:
    """What a record says of a stage, for a loop of this process."""
    import torch

    metrics = meter.take(seconds, units).metrics
    memory = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    if memory:
        torch.cuda.reset_peak_memory_stats()
    word = binds(metrics["waited"], metrics.get("late"))
    return {"metrics": metrics, "peak_gpu_memory_mib": memory, "notes": {"binds": word} if word else {}}


def scoring(bench: Bench, passage: float, packed: bool) -> str:
    """The teacher's scores of random pairs, from the end of the first block on."""
    from simlm.context import Context
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import choose_precision
    from simlm.hardware import prepare as prepare_torch
    from simlm.models.crossencoder import BATCH_TOKENS, PairScorer
    from simlm.training.teacher import PAIRS_AT_ONCE, score_visited

    prepare_torch(bench.experiment.models["reranker"].threads)
    context = Context(bench.experiment, bench.paths)
    store, scorer = CorpusStore(context.paths.corpus), PairScorer.open(context.paths.model("reranker"), choose_precision("auto"))
    if packed and (reason := scorer.pack()):
        raise SystemExit(f"it cannot be packed: {reason}")
    queries = list(store.queries("train").values())
    rows = np.random.default_rng(3).integers(0, len(store), len(queries) * PAIRS_PER_QUERY).astype(np.int32)
    offsets = np.arange(len(queries) + 1) * PAIRS_PER_QUERY
    warm = PAIRS_AT_ONCE if len(rows) > 2 * PAIRS_AT_ONCE else 0  # pairs of the first block, all of which are scored before one is given
    with metered() as meter, Watch() as watch:
        start = time.monotonic()
        for number, _ in enumerate(score_visited(scorer, store, queries, rows, offsets, context.paths.root / "training")):
            if warm and number == 0:
                meter.take(1.0, 0)
                start = time.monotonic()
        seconds, pairs = time.monotonic() - start, len(rows) - warm
    print(f"scoring {len(rows):,} pairs{', packed' if packed else ''}: {watch}", flush=True)
    speed = pairs / seconds
    operations = bench.workload(passage).scoring("reranker") * speed
    name = f"scoring pairs{', packed' if packed else ''}"
    return bench.row(name, f"{BATCH_TOKENS:,} tokens", f"{speed:,.0f} pairs/s", passage, operations, measured(meter, seconds, pairs))


def vectors_alike(bench: Bench) -> str:
    """The vectors of the same passages read both ways, as far apart as cosines tell."""
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import choose_precision
    from simlm.retrieval.encoder import TextEncoder

    texts = CorpusStore(bench.paths.corpus).texts(np.arange(512))
    padded, packed = (TextEncoder(bench.paths.model("retriever"), choose_precision("auto")) for _ in range(2))
    if reason := packed.pack():
        raise SystemExit(f"it cannot be packed: {reason}")
    one, other = padded.passages(*texts), packed.passages(*texts)
    return f"Vectors of 512 passages, packed against padded in {padded.precision.name}: least cosine {float((one * other).sum(1).min()):.6f}."


def losses_alike(bench: Bench) -> str:
    """The losses of two trainings without dropout, which see the same in the same order."""
    for model in ("check", f"check{PACKED}"):
        bench.simlm("train", "--model", model)
    curves = [[line["loss"] for line in read_history(bench.paths.history(model)) if "loss" in line] for model in ("check", f"check{PACKED}")]
    one, other = (np.array(curve) for curve in curves)
    apart = np.abs(one - other) / np.abs(one)
    return (
        f"Losses of {len(one)} steps without dropout, packed against padded: {apart[0]:.2e} apart in the first step, at most {apart.max():.2e} "
        f"(median {np.median(apart):.2e}); the last ones are {one[-1]:.4f} and {other[-1]:.4f}."
    )


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
    parser.add_argument("--tiny", action="store_true", help="tiny models, few passages and steps, to try this program where there is no GPU")
    parser.add_argument("--prepare", action="store_true", help="stop before what needs a GPU")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(HERE.parent)
    experiments = {}
    for packing in (False, True):
        file = folder / f"accelerator{PACKED if packing else ''}.yaml"
        file.write_text(yaml.safe_dump(configuration(folder, arguments.threads, arguments.tiny, packing), sort_keys=False))
        experiments[packing] = load_experiment(file)
    bench = Bench(folder, arguments.peak_tflops, experiments)
    prepare(bench, 1_200 if arguments.tiny else arguments.passages, 60 if arguments.tiny else 8_000)
    if arguments.prepare:
        return
    write_models(folder, bench.paths.tokenizer, arguments.tiny)
    measure(bench)


def measure(bench: Bench) -> None:
    import torch

    from simlm.corpus.store import CorpusStore
    from simlm.models.loading import load_tokenizer
    from simlm.text.token_cache import TokenCache

    began = time.monotonic()
    heads = ["stage", "a step, or a batch", "speed", "tokens per passage", "Tflop/s", "of the peak", "padding", "waited", "memory", "binds"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    table = bench.folder / "accelerator.md"

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        table.write_text("\n".join([device, "", *lines, ""]))

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    add(pretraining(bench, "simlm"))
    add(pretraining(bench, "simlm_packed"))
    cache = TokenCache(CorpusStore(bench.paths.corpus), load_tokenizer(bench.paths.tokenizer), 144, bench.paths.tokens)
    passage = float(cache.whole().lengths.mean())
    for model in ("retriever", "retriever_packed", "pieces", "pieces_packed", "reranker", "reranker_packed"):
        add(fine_tuning(bench, model, passage))
    for packed in (False, True):
        add(encoding(bench, passage, packed))
    for packed in (False, True):
        add(scoring(bench, passage, packed))
    if torch.cuda.is_available():
        add(searching(bench, 1_000_000))
    add("")
    add(vectors_alike(bench))
    add(losses_alike(bench))
    add(f"All of it took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
