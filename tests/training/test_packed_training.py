"""Every training on packed rows against the same on padded batches: losses, gradients, weights, vectors and a metric."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch
import transformers
from architectures import save, tokenizer
from finetuning import make_context

from simlm.config.stages import settings_of
from simlm.hardware import Precision
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.models.loading import load_tokenizer
from simlm.models.manifest import read_manifest
from simlm.models.masked_language_model import load_masked_language_model
from simlm.models.packing import is_packed, use_packing
from simlm.retrieval.prepared import open_encoder, open_scorer
from simlm.training.biencoder import train
from simlm.training.distributed import parts_of, put_shares
from simlm.walltime import OutOfTime
from tests.training.test_biencoder_training import BLOCK, rank_of_own
from tests.training.test_bottleneck_model import bert
from tests.training.test_distributed import CASES, EXAMPLES, example
from tests.training.test_pretraining_objectives import OBJECTIVES, inputs_of

FP32 = Precision("fp32", "test")


def packed(module: torch.nn.Module) -> torch.nn.Module:
    """The same module; each of its encoders reads rows."""
    encoders = [part for part in module.modules() if isinstance(part, transformers.PreTrainedModel)]
    assert [use_packing(part) for part in encoders] == [None] * len(encoders)
    return module


def step(module: torch.nn.Module, batch: dict) -> tuple[dict, dict]:
    values = module.train()(**batch)
    values["loss"].backward()
    return values, {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


def assert_same(found: tuple[dict, dict], wanted: tuple[dict, dict]) -> None:
    """Losses to 1e-6 and gradients to 1e-5, relative to the largest number of each weight's."""
    (values, gradients), (expected, others) = found, wanted
    assert {name: float(value) for name, value in values.items()} == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-6)
    assert gradients.keys() == others.keys()
    largest = max(float(value.abs().max()) for value in others.values())
    for name, value in others.items():
        # That of a key's bias is 0 but for rounding.
        assert float((gradients[name] - value).abs().max()) <= 1e-5 * max(float(value.abs().max()), 0.1 * largest), name


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("late") and "packed" not in case])
def test_a_step_of_every_training(case, word_tokenizer):
    (padded, (batch,)), (rows, (same,)) = (example(word_tokenizer, case, slice(None), EXAMPLES) for _ in range(2))
    for one in (batch, same):
        put_shares(parts_of(one))
    assert_same(step(packed(rows), same), step(padded, batch))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_of_pretraining(objective):
    settings = OBJECTIVES[objective]
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(BottleneckModel(bert(), bert(layers=2), BottleneckOptions(**settings)))
    assert_same(step(packed(models[1]), inputs_of(settings)), step(models[0], inputs_of(settings)))


@pytest.mark.parametrize("name", ["Roberta", "XLMRobertaXL", "RobertaPreLayerNorm", "Xmod", "DistilBert", "ModernBert", "NomicBert", "Electra"])
@pytest.mark.parametrize("decoder", ["shallow", "condenser"])
def test_decoders_of_every_architecture(name, decoder, tmp_path):
    """The decoder's layers read rows as the encoder's do, with its rotary positions where it has them.

    Text is masked, not replaced: where a generator samples the padding's id, RoBERTa counts the positions behind it wrong in a padded batch.
    """
    folder = save(tmp_path / "m", name, "ForMaskedLM", change=without_dropout)
    own, models, masked = load_tokenizer(folder), [], {"encoder_corruption": "masked", "decoder_corruption": "masked"}
    for _ in range(2):
        torch.manual_seed(0)
        models.append(BottleneckModel(load_masked_language_model(folder, own), None, BottleneckOptions(decoder=decoder, **masked)))
    inputs = inputs_of({"decoder": decoder})
    inputs["tokens"] = torch.where(inputs["attention_mask"].bool(), 5 + inputs["tokens"] % 12, own.pad_token_id)
    inputs |= {"token_types": None, "mask_id": own.mask_token_id}
    assert_same(step(packed(models[1]), inputs), step(models[0], inputs))


def without_dropout(config) -> None:
    for rate in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
        if hasattr(config, rate):
            setattr(config, rate, 0.0)


def context_of(root, words, packing: bool, **changes):
    context = make_context(root, words, {"retriever": {**BLOCK, "steps": 24, "checkpoint_steps": 10, **changes}})
    return dataclasses.replace(context, experiment=context.experiment.model_copy(update={"packing": packing}))


def weights(context) -> dict[str, torch.Tensor]:
    return transformers.AutoModel.from_pretrained(context.paths.model("retriever")).state_dict()


def test_a_training_ends_at_the_same_weights_and_metric(tmp_path, word_tokenizer, monkeypatch):
    """Whole trainings without dropout, padded, packed, packed with bounded memory, and packed with interruptions; then encoding."""
    contexts = {
        name: context_of(tmp_path / name, word_tokenizer, name != "padded", **changes)
        for name, changes in {"padded": {}, "packed": {}, "bounded": {"micro_batch_size": 4}, "resumed": {}}.items()
    }
    for name in ("padded", "packed", "bounded"):
        train(contexts[name], "retriever")
    monkeypatch.setenv("SIMLM_END_TIME", str(time.time() + 5))
    for _ in range(2):
        with pytest.raises(OutOfTime):
            train(contexts["resumed"], "retriever")
    monkeypatch.delenv("SIMLM_END_TIME")
    train(contexts["resumed"], "retriever")

    found = {name: weights(context) for name, context in contexts.items()}
    assert all(torch.equal(value, found["packed"][name]) for name, value in found["resumed"].items())
    for other in ("packed", "bounded"):
        for name, value in found["padded"].items():
            if not name.endswith("key.bias"):  # its gradient is rounding alone, whose sign AdamW follows
                torch.testing.assert_close(found[other][name], value, atol=2e-4, rtol=1e-3, msg=name)
        assert rank_of_own(contexts[other], "retriever") == rank_of_own(contexts["padded"], "retriever") > 0.3
    assert not torch.equal(found["packed"]["embeddings.word_embeddings.weight"], found["padded"]["embeddings.word_embeddings.weight"])

    padded, rows = contexts["padded"], dataclasses.replace(contexts["padded"], experiment=contexts["packed"].experiment)
    encoders = [open_encoder(context, "retriever", FP32) for context in (padded, rows)]
    assert [is_packed(encoder.model.encoder) for encoder in encoders] == [encoder.packed for encoder in encoders] == [False, True]
    texts = ["sort", "swap the columns of a matrix", "join a list and split numbers"] * 9
    vectors = [encoder.passages([""] * len(texts), texts) for encoder in encoders]
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-6)


def test_scores_and_identity(tmp_path, word_tokenizer):
    """A re-ranker's logits are the same; keys of what is computed are others, and untouched where nothing is packed."""
    from simlm.training.crossencoder import train as train_reranker

    block = {"kind": "crossencoder", "negatives": "bm25", "steps": 2, "batch_size": 8, "hard_negatives": 3, "max_length": 32, "threads": 1}
    context = make_context(tmp_path, word_tokenizer, {"reranker": block, "retriever": dict(BLOCK)})
    rows = dataclasses.replace(context, experiment=context.experiment.model_copy(update={"packing": True}))
    train_reranker(rows, "reranker")
    key = read_manifest(context.paths.model("reranker"))["key"]
    scorers = [open_scorer(one, "reranker", FP32) for one in (context, rows)]
    assert [is_packed(scorer.model.classifier) for scorer in scorers] == [False, True]
    texts = ["sort", "swap the columns of a matrix", "join a list and split numbers"] * 9
    logits = [scorer.score("swap columns", [""] * len(texts), texts) for scorer in scorers]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-6)
    for stage, name in (("train", "retriever"), ("encode", "retriever"), ("search_index", "retriever"), ("rerank", "reranker")):
        without, with_rows = (settings_of(one.experiment, stage, name) for one in (context, rows))
        assert with_rows == {**without, "packing": True}
    assert key == rows.record("train", "reranker").key != context.record("train", "reranker").key


def test_what_cannot_read_rows_says_so(tmp_path, capsys):
    """MPNet is trained on padded batches, and its record has the reason; late interaction has its own."""
    from simlm.models.late_interaction import NOT_PACKED
    from simlm.models.token_scorer import TokenScorer
    from simlm.retrieval.token_encoder import TokenEncoder

    words = tokenizer("roberta")
    context = context_of(tmp_path, words, True, init=str(save(tmp_path / "mpnet", "MPNet")), steps=1, query_length=8, passage_length=16)
    train(context, "retriever")
    assert "caution: retriever reads padded batches although packing is true: a mpnet counts the distances" in capsys.readouterr().err
    assert not open_encoder(context, "retriever", FP32).packed
    assert "retriever reads padded batches although packing is true" in capsys.readouterr().err
    assert TokenScorer.pack(None) == TokenEncoder.pack(None) == NOT_PACKED
