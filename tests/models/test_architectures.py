"""Architecture by role, with tiny checkpoints in the published layouts; what cannot work is refused with its reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, save, tokenizer

from simlm.config.architectures import POSITIONS_FROM_PADDING
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.architecture import position_limit
from simlm.models.biencoder import BiEncoderModel
from simlm.models.crossencoder import CrossEncoderModel, PairScorer
from simlm.models.folder import save_model
from simlm.models.loading import dropouts_of, fit_tokenizer, load_classifier, load_encoder, load_tokenizer, load_trained_classifier
from simlm.models.masked_language_model import load_masked_language_model
from simlm.models.pairs import PairJoiner
from simlm.models.retriever import open_retriever
from simlm.models.text import pad, tokenize_queries
from simlm.retrieval.encoder import TextEncoder

FP32 = Precision("fp32", "test")
QUERIES, TITLES, TEXTS = ["swap two columns", "sort"], ["matrix", ""], ["swap two columns of numbers", "sort a list"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_retriever(name, tmp_path):
    """Loaded, trained for two steps, exported, embedded, and opened by sentence-transformers with the same vectors."""
    start = open_retriever(save(tmp_path / "m", name))
    assert start.lengths == {"query": 32, "passage": 64}
    model = BiEncoderModel(start.encoder, head=start.head).train()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    before = [value.clone() for value in model.parameters()]
    for _ in range(2):
        query, passage = (model(pad(tokens, start.tokenizer, 8)) for tokens in (start.reader.queries(QUERIES), start.reader.passages(TITLES, TEXTS)))
        torch.nn.functional.cross_entropy(query @ passage.T / 0.05, torch.arange(2)).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert sum(not torch.equal(old, new) for old, new in zip(before, model.parameters())) > len(before) // 2
    save_model(tmp_path / "out", start.encoder, start.tokenizer, kind="biencoder", key="k", lengths=start.lengths, reading=start.reading)
    encoder = TextEncoder(tmp_path / "out", FP32)
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(encoder.queries(QUERIES), theirs.encode(QUERIES), atol=1e-5)
    np.testing.assert_allclose(encoder.passages(TITLES, TEXTS), theirs.encode([("matrix", TEXTS[0]), ("-", TEXTS[1])]), atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_longest_text_is_as_long_as_the_positions_allow(name, tmp_path):
    """Padding, whose length is rounded up, included; the tokenizer claims to know no limit."""
    start = open_retriever(save(tmp_path / "m", name))
    limit = position_limit(start.encoder.config)
    assert limit == 64
    batch = pad(tokenize_queries(start.tokenizer, ["a " * 200, "a " * 60], limit), start.tokenizer, 48)
    assert batch["input_ids"].shape == (2, 64)
    assert torch.isfinite(BiEncoderModel(start.encoder, head=start.head).eval()(batch)).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_re_ranker(name, tmp_path):
    """From the bare encoder, two steps, exported, and back with the scores of transformers' own class."""
    folder = save(tmp_path / "m", name)
    model = load_classifier(folder)
    own = load_tokenizer(folder)
    fit_tokenizer(own, model, folder)
    joiner = PairJoiner(own, 32)
    pairs = pad(joiner.join(joiner.queries(QUERIES), joiner.passages(TITLES, TEXTS)), own, 8)
    scorer = CrossEncoderModel(model).train()
    optimiser = torch.optim.AdamW(scorer.parameters(), 1e-3)
    for _ in range(2):
        torch.nn.functional.softplus(scorer(pairs)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    save_model(tmp_path / "out", model, own, kind="crossencoder", key="k", lengths={"pair": 32})
    found = PairScorer.open(tmp_path / "out", FP32).score(QUERIES[0], TITLES, TEXTS)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    read = load_tokenizer(tmp_path / "out")
    batch = read([QUERIES[0]] * 2, ["matrix: swap two columns of numbers", "sort a list"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(found, theirs(**batch).logits[:, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_head_for_masked_words(name, head, tmp_path):
    """A base without one gets a fresh one that is tied, and says so; one that is there is kept."""
    folder, cautions = save(tmp_path / "m", name, head), []
    torch.manual_seed(1)
    model = load_masked_language_model(folder, load_tokenizer(folder), cautions.append)
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert len(cautions) == (head == "Model")
    if head == "ForMaskedLM":
        theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in model.state_dict().items())
    else:
        assert "gets a fresh one, tied to its embeddings" in cautions[0]
    body, bare = model.base_model.state_dict(), load_encoder(folder).state_dict()
    assert all(torch.equal(value, body[key]) for key, value in bare.items() if key in body)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropout_by_whatever_name(name, tmp_path):
    """Every dropout of the encoder, that of the attention included, has the rate that is asked for; the configuration keeps its own."""
    folder = save(tmp_path / "m", name)
    model, plain = load_encoder(folder, dropout=0.25), load_encoder(folder)
    rates = {path: part.p for path, part in model.named_modules() if isinstance(getattr(part, "p", None), float) and "dropout" in type(part).__name__.lower()}
    assert rates
    assert set(rates.values()) == {0.25}
    for part in model.modules():
        if isinstance(rate := getattr(part, "attention_dropout", getattr(part, "dropout_prob", 0.25)), float):
            assert rate == 0.25
    assert model.config.to_diff_dict() == plain.config.to_diff_dict()


def test_an_architecture_without_dropout_says_so():
    with pytest.raises(UserError, match=r"the base: a mamba encoder has no dropout of a known name to set; leave dropout out"):
        dropouts_of(transformers.MambaConfig(), "the base")


def test_kin_of_roberta_are_known_by_their_padded_positions():
    """Every architecture with a masked language model whose table of positions skips the padding is listed, and no other."""
    from transformers import CONFIG_MAPPING

    for name in ("bert", "electra", "roberta", "camembert", "mpnet", "xmod", "ibert", "xlm-roberta-xl"):
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(CONFIG_MAPPING[name](num_hidden_layers=1))
        skips = any(path.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None for path, part in model.named_modules())
        assert (name in POSITIONS_FROM_PADDING) == skips


@pytest.mark.parametrize("layout", ["bin", "sharded", "sharded bin"])
def test_layouts_of_weights(layout, tmp_path):
    folder = save(tmp_path / "m", "Bert", **({"max_shard_size": "20KB"} if layout == "sharded" else {}))
    wanted = transformers.AutoModel.from_pretrained(folder).state_dict()
    if "bin" in layout:
        (folder / "model.safetensors").unlink()
        names = sorted(wanted)
        parts = {"pytorch_model.bin": names} if layout == "bin" else {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
        for file, own in parts.items():
            torch.save({name: wanted[name] for name in own}, folder / file)
        if layout == "sharded bin":
            index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, own in parts.items() for name in own}}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for name, value in load_encoder(folder).state_dict().items():
        torch.testing.assert_close(value, wanted[name])


def changed(**values):
    """A change of ``config.json``."""

    def do(folder):
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return do


def untemplated(folder):
    tokenizer("bert", template=False).save_pretrained(folder)


REFUSED = {
    "own code": (changed(auto_map={"AutoModel": "owner/own--modeling.Own"}), r"computes with code of its own \(auto_map: owner/own--modeling.Own\)"),
    "alibi": (changed(position_embedding_type="alibi"), "has positions .position_embedding_type: 'alibi'. that transformers' bert does not build"),
    "relative": (changed(position_embedding_type="relative_key"), "has positions"),
    "rotary": (changed(rope_theta=10000), "has positions .rope_theta"),
    "quantised": (changed(quantization_config={"quant_method": "gptq"}), r"has quantised weights \(gptq\)"),
    "encoder-decoder": (changed(model_type="t5"), r"is an encoder-decoder \(t5\)"),
    "unknown": (changed(model_type="newbert"), "is of the architecture 'newbert', which transformers .* does not know"),
    "text for a number": (changed(num_hidden_layers="two"), "num_hidden_layers is 'two', which is no whole number"),
    "a million layers": (changed(num_hidden_layers=1_000_000), "num_hidden_layers is 1,000,000, but a model has 1 to 1,000"),
    "no layers": (changed(num_hidden_layers=0), "num_hidden_layers is 0"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "does not say its model_type"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "fewer layers": (changed(num_hidden_layers=1), "has 16 weights in its layers that its config.json does not know"),
    "more layers": (changed(num_hidden_layers=3), "lacks 16 weights of its encoder"),
    "other widths": (changed(hidden_size=64), "does not hold a model|belong to different models"),
    "a decoder": (changed(is_decoder=True), "is a causal model"),
    "no template": (untemplated, r"puts no \[CLS\] before and no \[SEP\] behind a text"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
}


@pytest.mark.parametrize(("damage", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_true_reason(damage, reason, tmp_path):
    folder = save(tmp_path / "m", "Bert")
    damage(folder)
    with pytest.raises(UserError, match=reason):
        open_retriever(folder)


def test_a_causal_model_needs_a_pooling_that_fits(tmp_path):
    from types import SimpleNamespace

    own = tokenizer("bert")
    config = transformers.GPT2Config(vocab_size=len(own), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "m")
    own.save_pretrained(tmp_path / "m")
    with pytest.raises(UserError, match="its first token sees nothing of the text, so that it cannot be the vector; set pooling: lasttoken"):
        open_retriever(tmp_path / "m")
    for load in (load_classifier, lambda folder: load_masked_language_model(folder, own)):
        with pytest.raises(UserError, match=r"is a causal model \(gpt2\)"):
            load(tmp_path / "m")
    fields = dict.fromkeys(("normalize", "similarity", "query_prompt", "passage_prompt", "title"))
    start = open_retriever(tmp_path / "m", SimpleNamespace(pooling="lasttoken", **fields))
    vectors = BiEncoderModel(start.encoder, head=start.head).eval()(pad(start.reader.queries(["sort a list", "sort a row", "find"]), start.tokenizer))
    assert len(torch.unique(vectors.round(decimals=4), dim=0)) == 3


def test_a_causal_model_whose_tokenizer_does_not_pad(tmp_path):
    """GPT-2's; what pads is never seen, so that a text has its own vector in any company."""
    from types import SimpleNamespace

    own = tokenizer("bert")
    own.pad_token, own.eos_token = None, own.sep_token
    config = transformers.GPT2Config(vocab_size=len(own), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "m")
    own.save_pretrained(tmp_path / "m")
    start = open_retriever(
        tmp_path / "m", SimpleNamespace(pooling="lasttoken", **dict.fromkeys(("normalize", "similarity", "query_prompt", "passage_prompt", "title")))
    )
    model = BiEncoderModel(start.encoder, head=start.head).eval()
    together, alone = (model(pad(start.reader.queries(texts), start.tokenizer)) for texts in (["find", "sort a list of numbers"], ["find"]))
    torch.testing.assert_close(together[:1], alone)


def test_a_classifier_of_two_labels_is_no_re_ranker(tmp_path):
    folder = save(tmp_path / "m", "Bert", "ForSequenceClassification")
    with pytest.raises(UserError, match="is a classifier of 2 labels, and a re-ranker gives one score: which label means relevant only its card says"):
        load_trained_classifier(folder)
    assert load_classifier(folder).config.num_labels == 1


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path):
    folder = save(tmp_path / "m", "Roberta")
    tokenizer("bert").save_pretrained(folder)
    with pytest.raises(UserError, match=r"its tokenizer pads with 0 and its config.json with 1, from which a roberta counts positions"):
        open_retriever(folder)


def test_a_home_that_does_not_exist_is_a_folder_that_does_not_exist():
    with pytest.raises(UserError, match="~nosuchuser/x does not exist"):
        open_retriever("~nosuchuser/x")
