"""One process with 64 examples and two with 32 each give the same losses and gradients, see the same negatives, embed the same vectors.

Run by itself it prints the table of docs/reliability.md: python tests/training/test_distributed.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import transformers
import yaml
from torch import distributed

from simlm import processes
from simlm.config import load_experiment
from simlm.config.kinds import Bottleneck
from simlm.context import Context
from simlm.models.biencoder import BiEncoderModel
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.models.crossencoder import CrossEncoderModel
from simlm.models.hybrid import HybridModel, Parts, TwoParts
from simlm.models.late_interaction import LateInteractionModel, TokenReader, TokenReading
from simlm.models.packing import use_packing
from simlm.models.text import Tokens, pad
from simlm.paths import Paths
from simlm.training.biencoder import BiEncoderTraining
from simlm.training.bottleneck import BottleneckCollator
from simlm.training.crossencoder import CrossEncoderTraining
from simlm.training.distributed import gather, parts_of, put_shares
from simlm.training.joint import JointTraining
from simlm.training.late_interaction import LateInteractionTraining
from simlm.training.mlm import MaskedLanguageModelling, MaskingCollator
from simlm.training.spans import SpanCollator, SpanContrast, Spans

EXAMPLES, GROUP = 64, 3
CASES = (
    "mlm",
    "bottleneck",
    "bottleneck, generator trained",
    "contrastive",
    "contrastive, code",
    "distilled",
    "crossencoder",
    "joint",
    "late interaction",
    "late, distilled",
    "hybrid",
    "spans",
    "bottleneck, packed",
    "contrastive, packed",
)
PRETRAINING = CASES[:3]


def bert(kind: str, vocabulary: int, seed: int = 0):
    """A small BERT without dropout; large weights, so that texts differ in what they are worth."""
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    config = transformers.BertConfig(
        vocab_size=vocabulary, **size, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2, num_labels=1
    )
    config._attn_implementation = "eager"
    model = getattr(transformers, kind)
    return model(config, add_pooling_layer=False) if kind == "BertModel" else model(config)


def example(tokenizer, case: str, share: slice, micro: int):
    """The module of a case and this process's micro-batches of its 64 examples; lengths, and so counts of labels, differ widely."""
    draw = np.random.default_rng(5)
    words = len(tokenizer)
    passages = Tokens.from_lists([[2, *draw.integers(5, words, 4 + 34 * i // EXAMPLES).tolist(), 3] for i in range(EXAMPLES)])
    indices = range(EXAMPLES)[share]
    pieces = [list(indices[i : i + micro]) for i in range(0, len(indices), micro)]
    if case in PRETRAINING:
        model = bert("BertForMaskedLM", words)
        if case == "mlm":
            collate = MaskingCollator(passages, tokenizer, 0.3, seed=3)
            module = MaskedLanguageModelling(model)
        else:
            trained = case != "bottleneck"
            settings = Bottleneck(kind="bottleneck", init="a/b", generator="a/b", steps=1, label_fraction=0.5)
            collate = BottleneckCollator(passages, tokenizer, settings, seed=3)
            module = BottleneckModel(model, bert("BertForMaskedLM", words, 1), BottleneckOptions(1, train_generator=trained))
        return module, [collate([(1, i) for i in piece]) for piece in pieces]
    if case == "spans":
        condenser = {"decoder": "condenser", "encoder_corruption": "masked", "encoder_objective": "restore_masked", "decoder_objective": "restore_masked"}
        settings = Bottleneck(kind="bottleneck", init="a/b", steps=1, max_length=16, decoder_corruption="masked", span_contrast={}, **condenser)
        longer = Tokens.from_lists([[2, *draw.integers(5, words, 16 + i).tolist(), 3] for i in range(EXAMPLES)])
        collate = SpanCollator(Spans(longer, 16), BottleneckCollator(longer, tokenizer, settings, seed=3).corrupt, 3, micro)
        return SpanContrast(BottleneckModel(bert("BertForMaskedLM", words), None, BottleneckOptions.of(settings))), [collate([(1, i) for i in indices])]
    texts = Tokens.from_lists([[2, *draw.integers(5, words, int(draw.integers(3, 30))).tolist(), 3] for _ in range(EXAMPLES * (1 + GROUP))])
    rows, teacher = torch.arange(EXAMPLES * GROUP) % 101, torch.from_numpy(draw.normal(size=(EXAMPLES, GROUP)).astype(np.float32))
    groups = [[EXAMPLES + i * GROUP + j for i in piece for j in range(GROUP)] for piece in pieces]
    if case == "crossencoder":
        module = CrossEncoderTraining(CrossEncoderModel(bert("BertForSequenceClassification", words)), forward_factor=1, rdrop_weight=1.0)
        return module, [{"pairs": pad(texts.take(group), tokenizer), "group": GROUP} for group in groups]
    if case == "joint":
        models = BiEncoderModel(bert("BertModel", words)), CrossEncoderModel(bert("BertForSequenceClassification", words, 1))
        read = [{"queries": texts.take(piece), "passages": texts.take(group), "pairs": texts.take(group)} for piece, group in zip(pieces, groups)]
        return JointTraining(*models, 0.1, "paper", "list", "both"), [{name: pad(own, tokenizer) for name, own in batch.items()} for batch in read]
    if case.startswith("late"):
        torch.manual_seed(1)
        reader = TokenReader(tokenizer, {"query": 12, "passage": 48}, TokenReading(augmentation="attended" if "distilled" in case else "none"))
        module = LateInteractionTraining(LateInteractionModel(bert("BertModel", words), torch.nn.Linear(32, 8, bias=False), reader), 0.1)
    elif case == "hybrid":
        torch.manual_seed(1)
        module = BiEncoderTraining(HybridModel(bert("BertForMaskedLM", words), head=TwoParts(32, words, Parts(8, 20, 40, normalize=True))), 0.1)
    else:
        module = BiEncoderTraining(BiEncoderModel(bert("BertModel", words)), 0.02, 0.2 if case == "distilled" else 1.0, "code" if "code" in case else "paper")
    return module, [
        {
            "queries": pad(texts.take(piece), tokenizer),
            "passages": pad(texts.take(group), tokenizer),
            "rows": rows.view(EXAMPLES, GROUP)[piece].reshape(-1),
            "teacher": teacher[piece] if "distilled" in case else None,
        }
        for piece, group in zip(pieces, groups)
    ]


def one_step(tokenizer, case: str) -> dict[str, torch.Tensor]:
    """Loss and gradients of one step, shared by all processes there are; means over labels also in micro-batches of 8."""
    world, rank = processes.count(), processes.rank()
    each = EXAMPLES // world
    packed, case = case.endswith(", packed"), case.removesuffix(", packed")
    micro = 8 if world > 1 and case in (*PRETRAINING, "crossencoder", "joint", "spans") else each
    module, batches = example(tokenizer, case, slice(rank * each, (rank + 1) * each), micro)
    for part in module.modules() if packed else ():
        if isinstance(part, transformers.PreTrainedModel):
            assert use_packing(part) is None
    if world > 1:
        module = torch.nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
    put_shares([part for batch in batches for part in parts_of(batch)])
    total = torch.zeros(())
    for batch in batches:
        loss = module(**batch)["loss"] / len(batches)  # as the Trainer does
        loss.backward()
        total += loss.detach()
    if world > 1:
        distributed.all_reduce(total)
    found = {name.removeprefix("module."): value.grad for name, value in module.named_parameters() if value.grad is not None}
    return {"loss": total / world, **found}


def prepare(folder: Path, tokenizer) -> Context:
    """An experiment with a bi-encoder, on disk."""
    from finetuning import make_context

    settings = {"batch_size": 8, "steps": 6, "hard_negatives": 3, "learning_rate": 1e-3, "log_steps": 1, "threads": 1, "query_length": 16, "passage_length": 32}
    context = make_context(folder, tokenizer, {"retriever": {"kind": "biencoder", "negatives": "bm25", **settings}})
    context.paths.tokenizer.mkdir(parents=True)
    tokenizer.save_pretrained(context.paths.tokenizer)
    (context.paths.tokenizer / "manifest.json").write_text("{}")
    size = {"layers": 2, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 48, "dropout": 0.0}
    mlm = {
        "kind": "mlm",
        "size": size,
        "steps": 6,
        "batch_size": 8,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "max_length": 32,
        "log_steps": 1,
        "threads": 1,
    }
    values = context.experiment.model_dump(mode="json")
    values["models"]["masked"] = mlm
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return load(folder)


def load(folder: Path) -> Context:
    return Context(load_experiment(folder / "config.yaml"), Paths(folder / "results" / "tiny"))


def train_and_encode(context: Context) -> list[list[int]]:
    """Train both models and embed the corpus; returns the passages that each step of the bi-encoder contrasted."""
    from simlm.retrieval import encode as encoding
    from simlm.stages.encode import encode
    from simlm.stages.train import train
    from simlm.training import biencoder

    seen: list[list[int]] = []
    loss, block = biencoder.contrastive_loss, encoding.BLOCK

    def recording(queries, passages, rows, *rest):
        seen.append(rows.tolist())
        return loss(queries, passages, rows, *rest)

    biencoder.contrastive_loss, encoding.BLOCK = recording, 8
    try:
        train(context, "masked")
        train(context, "retriever")
        encode(context, "retriever", 1, 1)
    finally:
        biencoder.contrastive_loss, encoding.BLOCK = loss, block
    return seen


def worker(folder: Path) -> None:
    from simlm.models.loading import load_tokenizer

    torch.set_num_threads(1)
    processes.join()
    tokenizer = load_tokenizer(folder / "tokenizer")
    for number, case in enumerate(CASES):
        found = one_step(tokenizer, case)
        if processes.is_main():
            torch.save(found, folder / f"{number}.pt")
    assert gather(torch.tensor([processes.rank()])).tolist() == [0, 1]
    if (folder / "config.yaml").exists():
        seen = train_and_encode(load(folder))
        if processes.is_main():
            (folder / "seen.json").write_text(json.dumps(seen))
    listening = [each for each in psutil.Process().net_connections("inet") if each.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)]
    assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::1"}, "after trainings and an embedding nothing listens for other machines"


def two_processes(folder: Path, tokenizer) -> None:
    """Run :func:`worker` in two processes."""
    tokenizer.save_pretrained(folder / "tokenizer")
    here = Path(__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])}
    start = "import sys; from simlm.launch import run; sys.exit(run([sys.executable, *sys.argv[1:]], 2))"
    command = [sys.executable, "-c", start, str(here), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000)
    assert done.returncode == 0, done.stderr[-4000:]


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of all gradients, relative to the norm of the gradients."""
    assert one.keys() == two.keys()
    names = [name for name in one if name != "loss"]
    squares = [((one[name].double() - two[name].double()).square().sum(), one[name].double().square().sum()) for name in names]
    return float((sum(a for a, _ in squares) / sum(b for _, b in squares)).sqrt())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What one process and what two processes made, in folders of their own."""
    from small_vocabulary import word_tokenizer

    tokenizer = word_tokenizer()
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder in (one, two):
        prepare(folder, tokenizer)
    two_processes(two, tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seen = train_and_encode(load(one))
    torch.set_num_threads(threads)
    return tokenizer, one, two, seen


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_one_process(made, case):
    tokenizer, _, two, _ = made
    expected, found = one_step(tokenizer, case), torch.load(two / f"{CASES.index(case)}.pt", weights_only=True)
    print(f"| {case} | {float(expected['loss']):.6f} | {float(found['loss']):.6f} | {difference(expected, found):.1e} |")
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert difference(expected, found) < 1e-5


@pytest.mark.slow
def test_a_mean_of_means_would_be_another_gradient(made):
    """The labels of the two halves differ in number, so that the equality above says something."""
    tokenizer = made[0]
    for case in PRETRAINING:
        halves = [example(tokenizer, case, share, 32)[1][0]["counts"] for share in (slice(0, 32), slice(32, 64))]
        assert int(halves[1][0]) > 1.5 * int(halves[0][0])


@pytest.mark.slow
def test_the_same_negatives_in_the_same_order(made):
    *_, two, seen = made
    assert len(seen) == 6
    assert len(seen[0]) == 8 * 4
    assert json.loads((two / "seen.json").read_text()) == seen


@pytest.mark.slow
@pytest.mark.parametrize("model", ["masked", "retriever"])
def test_a_whole_training_follows_the_same_curve(made, model):
    _, one, two, _ = made
    curves = [[json.loads(line) for line in load(folder).paths.history(model).read_text().splitlines()] for folder in (one, two)]
    losses = [[line["loss"] for line in curve if "loss" in line] for curve in curves]
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=2e-4)
    records = [json.loads(load(folder).paths.record(f"train.{model}").read_text()) for folder in (one, two)]
    assert [record["notes"]["processes"] for record in records] == [1, 2]
    assert sorted(records[0]["outputs"]) == sorted(records[1]["outputs"])
    assert records[1]["outputs"]["weights"]
    assert records[0]["metrics"].keys() == records[1]["metrics"].keys()


@pytest.mark.slow
def test_two_processes_embed_the_same_bits(made, tmp_path):
    from simlm.corpus.store import CorpusStore
    from simlm.hardware import Precision
    from simlm.retrieval import encode
    from simlm.retrieval.encoder import TextEncoder

    context = load(made[2])
    found = np.load(context.paths.embeddings("retriever") / "1-of-1.npy")
    block, encode.BLOCK = encode.BLOCK, 8
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = TextEncoder(context.paths.model("retriever"), Precision("fp32", "test"), context.experiment.encoding.batch_size)
        encode.encode_shard(encoder, CorpusStore(context.paths.corpus), tmp_path / "tokens", tmp_path / "1-of-1.json", 1, 1)
    finally:
        encode.BLOCK = block
        torch.set_num_threads(threads)
    assert len(found) == 48
    assert found.tobytes() == np.load(tmp_path / "1-of-1.npy").tobytes()


def print_table() -> None:
    """The figures of docs/reliability.md."""
    sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    from small_vocabulary import word_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = word_tokenizer()
        two_processes(Path(folder), tokenizer)
        print("| loss | 1 × 64 | 2 × 32 | gradients differ by |\n|---|---|---|---|")
        for number, case in enumerate(CASES):
            one, two = one_step(tokenizer, case), torch.load(Path(folder) / f"{number}.pt", weights_only=True)
            print(f"| {case} | {float(one['loss']):.6f} | {float(two['loss']):.6f} | {difference(one, two):.1e} |")


if __name__ == "__main__":
    worker(Path(sys.argv[1])) if len(sys.argv) > 1 else print_table()
