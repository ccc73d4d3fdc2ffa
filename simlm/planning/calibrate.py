"""Measures the constants of the cost model on this machine: the project's own functions on made-up text, one thread, a minute or two.

Everything is CPU time, so that other work on the machine changes little. Accelerators are not measured; their entries are kept.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simlm.planning.costs import Costs
from simlm.planning.shapes import Shape
from simlm.progress import say

WORDS, LENGTH = 50, 64
"""Words of a made-up passage, and tokens of a text in the measured forward passes."""
WIDTHS = (64, 256, 768)
STARTS = {
    "start_light": "import simlm.corpus.store, simlm.runs.negatives, pyarrow.parquet, simlm.lexical.bm25",
    "start_torch": "import simlm.retrieval.encoder; from transformers import AutoModel, AutoTokenizer, BertModel, BertTokenizerFast",
    "start_training": "import simlm.training.biencoder, simlm.training.trainer; from transformers import BertForMaskedLM, BertTokenizerFast",
}


def calibrate(before: Costs, passages: int = 20_000, seconds: float = 2.0, starts: int = 3) -> dict[str, Any]:
    """Constants of this machine, as a file of costs holds them.

    Parameters
    ----------
    before
        Costs whose accelerators are kept.
    passages
        Made-up passages for the stages that read text.
    seconds
        Least time of each measurement of arithmetic.
    starts
        How often each start of a process is measured; the least counts, because the first one reads from disk.
    """
    from simlm.hardware import choose_precision
    from simlm.machine import describe

    precision = choose_precision("auto")
    facts = describe()
    found: dict[str, Any] = {"machine": f"{facts['cpu']}, one thread of {facts['cores']} cores, {precision.name} ({precision.reason})"}
    for name, imports in STARTS.items():
        found[name] = round(min(_start(imports) for _ in range(starts)), 2)
    say("Starts of the commands are measured; now text.")
    with tempfile.TemporaryDirectory() as folder:
        found |= _text(Path(folder), passages)
    say("Text is measured; now arithmetic.")
    found |= _arithmetic(seconds, precision.bf16)
    found["bf16_speedup"] = 1.0 if precision.bf16 else before.bf16_speedup
    found["accelerators"] = {name: accelerator.model_dump() for name, accelerator in before.accelerators.items()}
    return found


@contextmanager
def _timed(found: dict[str, Any], name: str, units: float) -> Iterator[None]:
    start = time.process_time()
    yield
    found[name] = float(f"{max(1e-12, time.process_time() - start) / units:.3g}")


def _start(imports: str) -> float:
    """CPU seconds of a process that only imports."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", imports], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _made_up(count: int) -> list[str]:
    """Texts whose words have the frequencies of a language, roughly (Zipf's law)."""
    random = np.random.default_rng(0)
    ranks = np.minimum(random.zipf(1.2, (count, WORDS)), 500_000)
    return [" ".join(f"w{rank}" for rank in row) for row in ranks.tolist()]


def _text(folder: Path, count: int) -> dict[str, Any]:
    from simlm.config.experiment import Negatives, Tokenizer
    from simlm.corpus.store import CorpusStore
    from simlm.corpus.writer import write_corpus
    from simlm.evaluation.metrics import evaluate_run, parse_metrics
    from simlm.lexical.bm25 import Bm25Index, passages_of
    from simlm.models.text import tokenize_passages
    from simlm.models.tokenizer import train_wordpiece
    from simlm.runs.negatives import sample_negatives
    from simlm.runs.runs import Ranking, read_trec_run, write_trec_run

    found: dict[str, Any] = {}
    texts, names = _made_up(count), [f"q{i}" for i in range(min(500, count // 4))]
    split = ([(name, texts[i]) for i, name in enumerate(names)], [(name, str(i), 1) for i, name in enumerate(names)])
    with _timed(found, "corpus_word", count * WORDS):
        write_corpus(folder / "corpus", ((str(i), "", text) for i, text in enumerate(texts)), {"dev": split}, {"source": "made up"})
    store = CorpusStore(folder / "corpus")
    with _timed(found, "bm25_index_word", count * WORDS):
        index = Bm25Index.build(passages_of(store), "stemmed")
    depth = min(200, count // 4)
    rare, common = ([" ".join(f"w{rank}" for rank in ranks) for _ in names] for ranks in (range(30_000, 30_006), range(2, 8)))
    with _timed(found, "bm25_query", len(names)):
        list(index.rank(rare, depth))
    with _timed(found, "bm25_posting", len(names)):
        list(index.rank(common, depth))
    found["bm25_posting"] = float(f"{max(1e-12, (found['bm25_posting'] - found['bm25_query']) / index.postings(common[0])):.3g}")
    random, settings = np.random.default_rng(1), Negatives(depth=depth)
    rankings = [Ranking(name, random.permutation(count)[:depth].astype(np.int32), np.arange(depth, 0, -1, np.float32)) for name in names]
    with _timed(found, "negatives_query", len(names)):
        for ranking in rankings:
            sample_negatives(ranking, np.array([3], np.int32), count, settings, 1)
    with _timed(found, "run_line", len(names) * depth):
        write_trec_run(folder / "run.trec", rankings, store, tag="made_up")
    with _timed(found, "judged_line", len(names) * depth):
        evaluate_run(read_trec_run(folder / "run.trec"), store.qrels("dev"), parse_metrics(["RR@10", "R@50", "nDCG@10", "AP"]))
    with _timed(found, "vocabulary_word", count * WORDS):
        tokenizer = train_wordpiece(store, Tokenizer(vocabulary=2048), [])
    with _timed(found, "tokenize_word", count * WORDS):
        for start in range(0, count, 2000):
            tokenize_passages(tokenizer, [""] * len(texts[start : start + 2000]), texts[start : start + 2000], 144)
    return found


def _arithmetic(seconds: float, bf16: bool) -> dict[str, Any]:
    import torch
    from transformers import BertModel

    from simlm.hardware import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"training_gflops": {}, "inference_gflops": {}}
    for width in WIDTHS:
        shape = Shape(2, width, max(1, width // 64), 4 * width, 8192, 128)
        model = BertModel(_config(shape), add_pooling_layer=False)
        batch = torch.randint(5, 8000, (32, LENGTH))

        def forward(model: Any = model, batch: Any = batch) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return model(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state

        def train(forward: Callable[[], Any] = forward) -> None:
            forward().float().square().mean().backward()

        def infer(forward: Callable[[], Any] = forward) -> None:
            with torch.inference_mode():
                forward()

        operations = len(batch) * shape.forward(LENGTH) / 1e9
        model.train()
        found["training_gflops"][width] = round(3 * operations / _repeated(train, seconds), 1)
        model.eval()
        found["inference_gflops"][width] = round(operations / _repeated(infer, seconds), 1)
    return found | _step(seconds / 2, bf16) | _vectors(seconds)


def _config(shape: Shape) -> Any:
    """A BERT of that shape, with the attention that this machine would use."""
    from transformers import BertConfig

    from simlm.hardware import attention_implementation

    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
    )
    config._attn_implementation = attention_implementation()
    return config


def _step(seconds: float, bf16: bool) -> dict[str, float]:
    """CPU seconds of an optimiser's step on next to no data: what a step costs beside its arithmetic."""
    import torch
    from transformers import BertModel

    model = BertModel(_config(Shape(4, 64, 1, 64, 1000, 16)), add_pooling_layer=False)
    optimizer, batch = torch.optim.AdamW(model.parameters(), fused=True), torch.ones((2, 8), dtype=torch.int64)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            states = model(input_ids=batch, attention_mask=batch).last_hidden_state
        states.float().square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"training_step": float(f"{_repeated(step, seconds):.3g}")}


def _vectors(seconds: float) -> dict[str, float]:
    import faiss

    from simlm.files import sha256_file
    from simlm.indexes.faiss_index import faiss_threads

    random = np.random.default_rng(2)
    vectors, queries = random.standard_normal((16_384, 768), np.float32), random.standard_normal((256, 768), np.float32)

    def search() -> None:
        faiss.knn(queries, vectors, 200, faiss.METRIC_INNER_PRODUCT)

    def put() -> None:
        index = faiss.IndexFlatIP(768)
        index.add(vectors)
        with tempfile.NamedTemporaryFile() as file:
            faiss.write_index(index, file.name)
            for _ in range(2):
                sha256_file(file.name)

    with faiss_threads(1):
        speed = 2e-9 * len(queries) * vectors.size / _repeated(search, seconds)
        return {"search_gflops": round(speed, 1), "vector_byte": float(f"{_repeated(put, seconds / 2) / vectors.nbytes:.3g}")}


def _repeated(work: Callable[[], Any], seconds: float) -> float:
    """CPU seconds of one call: the least of several, since other work on the machine can only add to it."""
    work()
    least, calls, start = float("inf"), 0, time.monotonic()
    while calls < 3 or time.monotonic() - start < seconds:
        before = time.process_time()
        work()
        least, calls = min(least, time.process_time() - before), calls + 1
    return max(least, 1e-9)
