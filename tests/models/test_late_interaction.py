"""Vectors of tokens: those of sentence-transformers' multi-vector module, for published checkpoints and for folders written here."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from published_models import write_colbert
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from transformers import AutoModel

from simlm.config import validate
from simlm.context import Context
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.indexes.late_interaction import maxsim
from simlm.models import token_scorer
from simlm.models.folder import save_model
from simlm.models.given_late_interaction import take_over
from simlm.models.late_interaction import LateInteractionModel, TokenReader, TokenReading, punctuation_ids
from simlm.models.manifest import identity_of, read_manifest
from simlm.models.text import pad
from simlm.models.token_retriever import open_token_retriever
from simlm.models.token_scorer import TokenScorer
from simlm.paths import Paths
from simlm.retrieval.token_encoder import TokenEncoder

QUERIES = ["what flows", "what burns fast, and where does it burn?", "it"]
TEXTS = ["the river flows to the sea.", "a battery burns: fast - very fast", "?"]
FP32 = Precision("fp32", "test")
SHORT = {"query_maxlen": 12, "doc_maxlen": 10}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def colbert(tmp_path_factory):
    return write_colbert(tmp_path_factory.mktemp("hub") / "colbertv2.0", " ".join([*QUERIES, *TEXTS, "sea"]).split(), **SHORT)


def given(folder, source, **block) -> Context:
    values = {
        "name": "given",
        "corpus": {"source": "beir", "path": "nowhere", "splits": {"dev": "dev"}},
        "models": {"colbert": {"kind": "given_late_interaction", "init": str(source), **block}},
        "evaluate": {"systems": ["bm25", "colbert"], "splits": {"dev": {}}, "main_split": "dev"},
    }
    return Context(validate(values), Paths(folder / "given"))


def same(ours, theirs) -> None:
    """Vectors of texts, in the order of their tokens."""
    assert ours.lengths.tolist() == [len(own) for own in theirs]
    np.testing.assert_allclose(ours.values, np.concatenate([np.asarray(own) for own in theirs]), atol=1e-5)


@pytest.mark.parametrize(
    "about", [{}, {"attend_to_mask_tokens": True}, {"mask_punctuation": False, "pickled": True}], ids=["as published", "attended", "marks"]
)
def test_a_published_checkpoint_embeds_as_sentence_transformers_reads_it(tmp_path, about):
    source = write_colbert(tmp_path / "hub", " ".join([*QUERIES, *TEXTS]).split(), **{**SHORT, **about})
    here = given(tmp_path, source)
    take_over(here, "colbert")
    folder = here.paths.model("colbert")
    encoder = TokenEncoder(folder, FP32, batch_size=2)
    for opened in (source, folder):  # theirs, and what we wrote of it
        theirs = MultiVectorEncoder(str(opened), device="cpu")
        same(encoder.queries(QUERIES), theirs.encode_query(QUERIES))
        same(encoder.passages(["", "", ""], TEXTS), theirs.encode_document(TEXTS))
    assert encoder.queries(QUERIES).lengths.tolist() == [12, 12, 12]
    manifest = read_manifest(folder)
    assert (manifest["kind"], manifest["lengths"]) == ("late_interaction", {"query": 12, "passage": 10})
    assert manifest["token_reading"]["augmentation"] == ("attended" if "attend_to_mask_tokens" in about else "unattended")
    record = json.loads(here.paths.record("import_model.colbert").read_text())
    assert {"config.json", "artifact.metadata"} <= {name.rpartition("/")[2] for name in record["inputs"]}
    card = (folder / "README.md").read_text()
    assert "nothing was trained here" in card
    assert "MaxSim" in card


def test_the_card_computes_the_scores_that_are_searched(tmp_path, colbert):
    here = given(tmp_path, colbert)
    take_over(here, "colbert")
    folder = here.paths.model("colbert")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder))
    told: dict = {}
    exec(code.replace("a question", QUERIES[0]).replace("text of the passage", TEXTS[0]), told)
    encoder = TokenEncoder(folder, FP32)
    query, passage = encoder.queries(QUERIES[:1]).values.astype(float), encoder.passages([""], TEXTS[:1]).values.astype(float)
    assert float(told["model"].similarity(told["queries"], told["passages"])) == pytest.approx((query @ passage.T).max(1).sum(), abs=1e-4)


def test_tokens_by_hand(colbert):
    """[CLS] [Q] … [SEP] [MASK] …: 32 and no more; a passage's marker, its cut, and its punctuation."""
    opened = open_token_retriever(colbert)
    reader, tokenizer = opened.reader, opened.tokenizer
    (query,) = [tokenizer.convert_ids_to_tokens(ids) for ids in [reader.queries(["what flows"])[0]]]
    assert query == ["[CLS]", "[unused0]", "what", "flows", "[SEP]"]
    passages = reader.passages(["Title", ""], ["the river flows to the sea. " * 3, "sea"])
    assert tokenizer.convert_ids_to_tokens(passages[0]) == ["[CLS]", "[unused1]", "the", "river", "flows", "to", "the", "sea", ".", "[SEP]"]
    vectors = opened.model().eval().passages(pad(passages, tokenizer))
    assert vectors.mask.tolist() == [[True] * 8 + [False, True], [True] * 4 + [False] * 6]
    filled, counted = opened.model()._filled(pad(reader.queries(["what flows", "it"]), tokenizer, 8))
    assert tokenizer.convert_ids_to_tokens(filled["input_ids"][1].tolist()) == ["[CLS]", "[unused0]", "it", "[SEP]", *["[MASK]"] * 8]
    assert filled["attention_mask"].sum(1).tolist() == [5, 4]
    assert counted.all()
    assert counted.shape == (2, 12)
    assert set(tokenizer.convert_ids_to_tokens(punctuation_ids(tokenizer))) == set(".,:;-?'")


def test_unattended_masks_change_no_other_vector_and_attended_ones_do(colbert):
    opened = open_token_retriever(colbert)
    batch = pad(opened.reader.queries(["what flows"]), opened.tokenizer)
    alone = opened.encoder(**batch).last_hidden_state
    expected = torch.nn.functional.normalize(alone @ opened.projection.weight.T, dim=-1)
    for augmentation, equal in (("unattended", True), ("none", True), ("attended", False)):
        reader = TokenReader(opened.tokenizer, opened.lengths, TokenReading(augmentation=augmentation))
        vectors = LateInteractionModel(opened.encoder, opened.projection, reader).eval().queries(batch)
        assert vectors.mask.sum() == (5 if augmentation == "none" else 12)
        assert torch.allclose(vectors.values[:, :5], expected, atol=1e-6) == equal


def test_any_encoder_becomes_one_and_brings_markers(tmp_path, tiny_encoder, word_tokenizer):
    """A vocabulary without the markers gets them, and so do the embeddings; the folder opens again as it was."""
    save_model(tmp_path / "start", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    torch.manual_seed(3)
    opened = open_token_retriever(tmp_path / "start")
    assert opened.said_by is None
    assert len(opened.tokenizer) == len(word_tokenizer) + 2
    assert opened.encoder.get_input_embeddings().weight.shape[0] == len(opened.tokenizer)
    assert tuple(opened.projection.weight.shape) == (128, 16)
    torch.manual_seed(3)
    assert torch.equal(open_token_retriever(tmp_path / "start").projection.weight, opened.projection.weight)
    assert opened.tokenizer.tokenize("swap [unused1] columns") == ["swap", "[unused1]", "columns"]
    folder = tmp_path / "late"
    opened = open_token_retriever(tmp_path / "start", type("Settings", (), {"title": "pair", "query_length": 12, "passage_length": 20, "dimension": 4}))
    parts = {"lengths": opened.lengths, "extra": opened.entry(), "write": opened.write}
    save_model(folder, opened.encoder, opened.tokenizer, kind="late_interaction", key="k", **parts)
    again = open_token_retriever(folder)
    assert (again.reading, again.lengths, again.said_by) == (opened.reading, {"query": 12, "passage": 20}, "simlm.json")
    assert torch.equal(again.projection.weight, opened.projection.weight)
    same(TokenEncoder(folder, FP32).queries(["swap two columns"]), MultiVectorEncoder(str(folder), device="cpu").encode_query(["swap two columns"]))
    assert AutoModel.from_pretrained(folder).config.vocab_size == len(opened.tokenizer)


def test_it_scores_pairs_for_others(tmp_path, colbert, monkeypatch):
    """Re-ranking and teaching: MaxSim of the vectors that a search would compare; what has no vector comes last."""
    here = given(tmp_path, colbert)
    take_over(here, "colbert")
    monkeypatch.setattr(token_scorer, "PASSAGES", 4)
    scorer, encoder = TokenScorer.open(here.paths.model("colbert"), FP32), TokenEncoder(here.paths.model("colbert"), FP32)
    which = np.array([2, 0, 0, 1, 2, 2, 1])
    texts = [TEXTS[i % 3] for i in range(7)]
    expected = maxsim(encoder.queries(QUERIES), encoder.passages([""] * 7, texts))[which, np.arange(7)]
    np.testing.assert_allclose(scorer.score_pairs(scorer.queries(QUERIES), which, scorer.passages([""] * 7, texts)), expected, atol=1e-5)
    np.testing.assert_allclose(
        scorer.score(QUERIES[1], [""] * 2, texts[3:5]), maxsim(encoder.queries(QUERIES[1:2]), encoder.passages([""] * 2, texts[3:5]))[0], atol=1e-5
    )
    scorer.model.skipped = torch.arange(len(scorer.reader.tokenizer))
    assert scorer.score("it", [""], ["sea"]).tolist() == [-12.0]


def test_another_way_of_reading_is_another_model(tmp_path, colbert):
    identities = set()
    for name, block in {"plain": {}, "attended": {"augmentation": "attended"}, "joined": {"title": "joined"}, "marks": {"skip_punctuation": False}}.items():
        here = given(tmp_path / name, colbert, **block)
        take_over(here, "colbert")
        identities.add(identity_of(read_manifest(here.paths.model("colbert"))))
    assert len(identities) == 4


def spoil(folder, **values) -> None:
    file = folder / "artifact.metadata"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"similarity": "l2"}, "compares tokens by l2"),
        ({"query_maxlen": "many"}, "says query_maxlen: 'many', which is not known here"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, values, sentence):
    source = write_colbert(tmp_path / "hub", ["river"])
    spoil(source, **values)
    here = given(tmp_path, source)
    with pytest.raises(UserError, match=sentence):
        take_over(here, "colbert")
    assert not here.paths.model("colbert").exists()


def test_what_has_no_projection_or_another_one_is_refused(tmp_path, tiny_encoder, word_tokenizer, colbert):
    save_model(tmp_path / "dense", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    with pytest.raises(UserError, match="has no projection to vectors of tokens"):
        take_over(given(tmp_path, tmp_path / "dense"), "colbert")
    with pytest.raises(UserError, match="gives vectors of 8 numbers, but dimension is 16"):
        open_token_retriever(colbert, type("Settings", (), {"dimension": 16}))
    with pytest.raises(UserError, match="which has no vectors of tokens"):
        TokenEncoder(tmp_path / "dense", FP32)
    with pytest.raises(UserError, match=r"models\.colbert\.passage_length is 600, but .* reads at most 512 tokens"):
        take_over(given(tmp_path, colbert, passage_length=600), "colbert")
    here = given(tmp_path, colbert)
    take_over(here, "colbert")
    folder = here.paths.model("colbert")
    save_file({"other": torch.zeros(1)}, folder / "1_Dense" / "model.safetensors")
    with pytest.raises(UserError, match=r"1_Dense/model\.safetensors has \d+ bytes instead of"):
        open_token_retriever(folder)
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("model.safetensors", "artifact.metadata", "config.json"):
        (tmp_path / "hub" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "hub" / name).write_bytes((colbert / name).read_bytes() if name != "model.safetensors" else (tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"holds no projection of a late-interaction model, linear\.weight"):
        open_token_retriever(tmp_path / "hub")
