"""A published retriever is read as it says of itself: its vectors are those of sentence-transformers, before and after it is taken over."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from published_retrievers import NORMALIZE, dense, describe

from simlm.config import validate
from simlm.context import Context
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.biencoder import BiEncoderModel
from simlm.models.folder import save_model
from simlm.models.given import take_over
from simlm.models.loading import load_encoder
from simlm.models.manifest import model_fingerprint, read_manifest
from simlm.models.pooling import VectorHead, pooled
from simlm.models.reading import POOLINGS, Reading
from simlm.models.retriever import open_retriever
from simlm.paths import Paths
from simlm.retrieval.encoder import TextEncoder

QUERIES = ["swap two columns", "invert"]
TITLES, TEXTS = ["matrix", ""], ["swap two columns of numbers", "invert"]
JOINED = ["matrix swap two columns of numbers", "invert"]
FP32 = Precision("fp32", "test")

LAYER_NORM = ("LayerNorm", {"dimension": 16}, {"norm.weight": torch.linspace(0.5, 2, 16), "norm.bias": torch.linspace(-1, 1, 16)})
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CASES = {
    "mean": {"pooling": MEAN, "behind": [NORMALIZE]},
    "cls": {"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "behind": [NORMALIZE]},
    "max": {"pooling": {"pooling_mode_max_tokens": True}},
    "root mean": {"pooling": {"pooling_mode_mean_sqrt_len_tokens": True}, "settings": {"similarity_fn_name": "dot"}},
    "weighted mean": {"pooling": {"pooling_mode_weightedmean_tokens": True}, "behind": [NORMALIZE]},
    "last token": {"pooling": {"pooling_mode_lasttoken": True}, "behind": [NORMALIZE]},
    "two, switched on": {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "behind": [NORMALIZE]},
    "two, named": {"pooling": {"pooling_mode": ["mean", "cls"]}, "behind": [NORMALIZE]},
    "nothing is on": {"pooling": {}, "behind": [NORMALIZE]},
    "dense": {"pooling": MEAN, "behind": [dense(16, 8), NORMALIZE]},
    "dense, pickled": {"pooling": MEAN, "behind": [dense(16, 24, "linear.Identity", bias=False)], "pickled": True, "settings": {"similarity_fn_name": "dot"}},
    "norms between": {"pooling": MEAN, "behind": [NORMALIZE, LAYER_NORM, dense(16, 4), NORMALIZE]},
    "prompts": {"pooling": MEAN, "settings": {"prompts": {"query": "find ", "passage": "list of "}}, "behind": [NORMALIZE]},
    "a default prompt for queries": {
        "pooling": MEAN,
        "settings": {"prompts": {"query": "numbers of ", "passage": ""}, "default_prompt_name": "query"},
        "behind": [NORMALIZE],
    },
    "a default prompt": {"pooling": MEAN, "settings": {"prompts": {"own": "numbers of "}, "default_prompt_name": "own"}, "behind": [NORMALIZE]},
    "cut vectors": {"pooling": MEAN, "settings": {"truncate_dim": 6}, "behind": [NORMALIZE]},
    "cut vectors of a projection, compared by dot": {
        "pooling": MEAN,
        "settings": {"truncate_dim": 5, "similarity_fn_name": "dot"},
        "behind": [dense(16, 12), NORMALIZE],
    },
    "cut beyond the width": {"pooling": MEAN, "settings": {"truncate_dim": 99}, "behind": [NORMALIZE]},
    "lower case": {"pooling": MEAN, "lowercase": True, "behind": [NORMALIZE]},
    "short": {"pooling": MEAN, "longest": 5, "behind": [NORMALIZE]},
}


@pytest.fixture
def published(tmp_path, tiny_encoder, word_tokenizer):
    """Writes a retriever of a case."""
    from tokenizers.normalizers import NFD

    word_tokenizer.backend_tokenizer.normalizer = NFD()  # that lower-casing is left to the settings
    tiny_encoder.save_pretrained(tmp_path / "published")
    word_tokenizer.save_pretrained(tmp_path / "published")
    return lambda **case: describe(tmp_path / "published", **case)


def context(folder, init, kind="given_biencoder", **settings):
    values = {
        "name": "given",
        "corpus": {"source": "beir", "path": "nowhere", "splits": {"dev": "dev"}},
        "models": {"given": {"kind": kind, "init": str(init), **settings}},
        "evaluate": {"systems": ["bm25", "given"], "splits": {"dev": {}}, "main_split": "dev"},
    }
    return Context(validate(values), Paths(folder / "results"))


def taken_over(folder, init, **settings):
    here = context(folder, init, **settings)
    take_over(here, "given")
    return here.paths.model("given")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_vectors_are_those_of_sentence_transformers(published, tmp_path, case):
    library = pytest.importorskip("sentence_transformers")
    source = published(**case)
    folder = taken_over(tmp_path, source)
    queries = ["Swap two columns", "invert"] if case.get("lowercase") else QUERIES
    ours = TextEncoder(folder, FP32)
    found = ours.queries(queries), ours.passages(TITLES, TEXTS)
    unit = case.get("settings", {}).get("similarity_fn_name") != "dot"
    for place in (source, folder):
        model = library.SentenceTransformer(str(place), device="cpu")
        # The placeholder of a "document" prompt hides a published "passage" prompt from encode_document (sentence-transformers 6.2).
        named = [{"prompt_name": name} if name in model.prompts and place == source else {} for name in ("query", "passage")]
        default = model.default_prompt_name == "own"
        encode_query, encode_document = (model.encode, model.encode) if default else (model.encode_query, model.encode_document)
        wanted = encode_query(queries, **({} if default else named[0])), encode_document(JOINED, **named[1])
        for mine, theirs in zip(found, wanted):
            # Cosine is the inner product of normalised vectors, whether the folder has a module for it or not.
            scale = np.linalg.norm(theirs, axis=1, keepdims=True) if unit and place == source else 1
            np.testing.assert_allclose(mine, theirs / scale, atol=1e-5, rtol=0)
        assert model.max_seq_length == case.get("longest", 24)
        assert model.similarity_fn_name == ("cosine" if unit else "dot")
    assert ours.dimension == found[0].shape[1]


def test_poolings_by_hand():
    """Against sums written out in float64."""
    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = [5, 2, 1]
    mask = torch.tensor([[1] * n + [0] * (5 - n) for n in lengths])
    own = [states[i, :n].numpy() for i, n in enumerate(lengths)]
    wanted = {
        "cls": [x[0] for x in own],
        "lasttoken": [x[-1] for x in own],
        "max": [x.max(0) for x in own],
        "mean": [x.sum(0) / len(x) for x in own],
        "mean_sqrt_len_tokens": [x.sum(0) / len(x) ** 0.5 for x in own],
        "weightedmean": [sum((i + 1) * row for i, row in enumerate(x)) / (len(x) * (len(x) + 1) / 2) for x in own],
    }
    for mode, value in wanted.items():
        np.testing.assert_allclose(pooled(states, mask, [mode]), np.stack(value), atol=1e-6)
    np.testing.assert_allclose(pooled(states, mask, list(wanted)), np.concatenate([np.stack(value) for value in wanted.values()], axis=1), atol=1e-6)


@pytest.mark.parametrize("mode", POOLINGS)
def test_a_text_without_tokens_is_zero_whatever_stands_beside_it(mode):
    """As in sentence-transformers; a tokenizer without special tokens makes nothing of an empty text."""
    states = torch.randn(2, 3, 4, requires_grad=True)
    vectors = pooled(states, torch.tensor([[1, 1, 1], [0, 0, 0]]), [mode])
    assert vectors[0].abs().min() > 0
    assert torch.equal(vectors[1], torch.zeros(4))
    vectors.sum().backward()
    assert states.grad.isfinite().all()


def test_the_configuration_goes_before_what_the_model_says(published, tmp_path):
    source = published(pooling=MEAN, behind=[NORMALIZE], settings={"prompts": {"query": "find "}})
    settings = {"pooling": ["cls", "max"], "query_prompt": "", "title": "none", "similarity": "dot", "normalize": False, "passage_length": 8}
    folder = taken_over(tmp_path, source, **settings)
    manifest = read_manifest(folder)
    assert Reading.of_manifest(manifest) == Reading(("cls", "max"), False, "dot", "", "", "none")
    assert manifest["lengths"] == {"query": 24, "passage": 8}
    record = json.loads(Paths(tmp_path / "results").record("import_model.given").read_text())
    assert record["notes"]["reading"]["pooling"] == ["cls", "max"]
    encoder = TextEncoder(folder, FP32)
    np.testing.assert_array_equal(encoder.passages(["numbers", "matrix"], TEXTS), encoder.passages(["", ""], TEXTS))
    assert not np.allclose(np.linalg.norm(encoder.queries(QUERIES), axis=1), 1, atol=0.1)
    assert [json.loads((folder / "1_Pooling/config.json").read_text())[key] for key in ("pooling_mode_cls_token", "pooling_mode_max_tokens")] == [True, True]
    assert not any(entry["type"].endswith("Normalize") for entry in json.loads((folder / "modules.json").read_text()))


def test_vllm_finds_the_pooling(published, tmp_path):
    """It takes the first entry that is true for the pooling, and any Normalize module for normalisation."""
    folder = taken_over(tmp_path, published(pooling=MEAN, behind=[NORMALIZE]))
    first = next(key for key, value in json.loads((folder / "1_Pooling/config.json").read_text()).items() if value is True)
    assert first == "pooling_mode_mean_tokens"
    assert "sentence_transformers.models.Normalize" in [entry["type"] for entry in json.loads((folder / "modules.json").read_text())]


def test_an_own_retriever_comes_back_as_it_was(tmp_path, tiny_encoder, word_tokenizer):
    reading = Reading(("mean",), False, "dot", "find ", "list ", "joined")
    save_model(tmp_path / "own", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 6, "passage": 12}, reading=reading)
    folder = taken_over(tmp_path, tmp_path / "own")
    assert read_manifest(folder)["lengths"] == {"query": 6, "passage": 12}
    first, second = (TextEncoder(place, FP32) for place in (tmp_path / "own", folder))
    np.testing.assert_array_equal(first.queries(QUERIES), second.queries(QUERIES))
    np.testing.assert_array_equal(first.passages(TITLES, TEXTS), second.passages(TITLES, TEXTS))
    assert model_fingerprint(folder) == model_fingerprint(tmp_path / "own") != read_manifest(folder)["weights"]["sha256"]


def test_another_way_of_reading_is_another_model(tmp_path, tiny_encoder, word_tokenizer):
    """Vectors and indexes are kept by this digest."""
    digests = set()
    for i, reading in enumerate([Reading(), Reading(title="joined"), Reading(query_prompt="find "), Reading(("mean",))]):
        save_model(tmp_path / str(i), tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 6, "passage": 12}, reading=reading)
        digests.add(model_fingerprint(tmp_path / str(i)))
    assert len(digests) == 4


def test_a_start_keeps_its_pooling_and_its_modules_are_trained(published):
    start = open_retriever(published(pooling=MEAN, behind=[dense(16, 8), NORMALIZE]))
    model = BiEncoderModel(start.encoder, head=start.head)
    assert {"head.between.0.linear.weight", "head.between.0.linear.bias"} <= {name for name, value in model.named_parameters() if value.requires_grad}
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    # The last layer computed for [CLS] alone would leave nothing to average.
    assert start.encoder(**batch).last_hidden_state.shape[1] == 4


def test_the_first_token_alone_is_as_before(tiny_encoder):
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    with torch.inference_mode():
        state = tiny_encoder(**batch).last_hidden_state[:, 0]
        torch.testing.assert_close(VectorHead()(state[:, None], batch["attention_mask"]), torch.nn.functional.normalize(state.float(), dim=-1), atol=0, rtol=0)


REFUSED = {
    "own code": ({"modules": [{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}]}, "a module of its own code"),
    "no pooling": (
        {"modules": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]},
        "begins with Transformer and Pooling",
    ),
    "other module": ({"behind": [("CNN", {}, {})]}, "has a module CNN, which is not built here"),
    "other pooling": ({"pooling": {"pooling_mode": "median"}}, "asks for the pooling 'median'"),
    "other distance": ({"settings": {"similarity_fn_name": "euclidean"}}, "ranks by the euclidean distance"),
    "cut at nothing": ({"settings": {"truncate_dim": 0}}, "truncate_dim is 0, which is no number of dimensions"),
    "another kind": ({"settings": {"model_type": "SparseEncoder"}}, "is a SparseEncoder of sentence-transformers"),
    "no prompt pooled": ({"pooling": {**MEAN, "include_prompt": False}, "settings": {"prompts": {"query": "find "}}}, "leaves the prompt out"),
    "lengths in words": ({"longest": "long"}, "max_seq_length is 'long'"),
    "dense of another width": ({"behind": [dense(12, 8)]}, "takes vectors of 12 dimensions, but they have 16"),
    "dense without weights": ({"behind": [("Dense", {"in_features": 16, "out_features": 8}, {})]}, "has no weights that can be read"),
    "dense with code": ({"behind": [("Dense", {"in_features": 16, "out_features": 8, "activation_function": "os.system"}, {})]}, "is none of torch's"),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_built_is_refused_with_its_reason(published, tmp_path, case, reason):
    modules = case.get("modules")
    source = published(**{"pooling": MEAN, **{key: value for key, value in case.items() if key != "modules"}})
    if modules:
        (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=reason):
        taken_over(tmp_path, source)
    assert not (tmp_path / "results/models/given").exists()


def test_cosine_of_vectors_that_are_not_normalised_is_refused(tmp_path):
    with pytest.raises(UserError, match="cosine is the inner product of normalised vectors"):
        context(tmp_path, "./x", similarity="cosine", normalize=False)


def test_old_folders_keep_the_transformer_in_a_folder_of_its_own(tmp_path, tiny_encoder, word_tokenizer):
    library = pytest.importorskip("sentence_transformers")
    tiny_encoder.save_pretrained(tmp_path / "old/0_Transformer")
    word_tokenizer.save_pretrained(tmp_path / "old/0_Transformer")
    describe(tmp_path / "old/0_Transformer", MEAN, [NORMALIZE])
    for name in ("modules.json", "1_Pooling", "2_Normalize"):
        (tmp_path / "old/0_Transformer" / name).rename(tmp_path / "old" / name)
    modules = json.loads((tmp_path / "old/modules.json").read_text())
    (tmp_path / "old/modules.json").write_text(json.dumps([{**modules[0], "path": "0_Transformer"}, *modules[1:]]))
    ours = TextEncoder(taken_over(tmp_path, tmp_path / "old"), FP32).queries(QUERIES)
    np.testing.assert_allclose(ours, library.SentenceTransformer(str(tmp_path / "old"), device="cpu").encode(QUERIES), atol=1e-5)
    assert load_encoder(tmp_path / "old/0_Transformer").config.hidden_size == 16


@pytest.mark.parametrize("place", ["the settings", "the tokenizer"])
def test_lengths_are_those_of_sentence_transformers(published, tmp_path, place):
    """Since version 6 a saved model has its length in the tokenizer alone."""
    library = pytest.importorskip("sentence_transformers")
    plain = library.SentenceTransformer(str(published(pooling=MEAN, behind=[NORMALIZE], longest=7)), device="cpu")
    source = tmp_path / "published"
    if place == "the tokenizer":
        source = tmp_path / "saved again"
        plain.save_pretrained(str(source))
        (source / "sentence_bert_config.json").write_text("{}")
    long = ["swap two columns of numbers " * 4]
    ours = TextEncoder(taken_over(tmp_path, source), FP32)
    np.testing.assert_allclose(ours.passages([""], long), plain.encode(long), atol=1e-5)
    assert open_retriever(source).lengths == {"query": 7, "passage": 7}


def test_a_copy_without_its_list_of_modules_is_read_by_its_folders(published, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    prompts = {"prompts": {"query": "find ", "passage": "list of "}}
    source = published(pooling=MEAN, behind=[dense(16, 8), NORMALIZE], settings=prompts)
    wanted = library.SentenceTransformer(str(source), device="cpu").encode(QUERIES, prompt_name="query")
    (source / "modules.json").unlink()
    np.testing.assert_allclose(TextEncoder(taken_over(tmp_path, source), FP32).queries(QUERIES), wanted, atol=1e-5)


@pytest.mark.parametrize("lowers", [True, False])
def test_a_tokenizer_keeps_its_case(tmp_path, tiny_encoder, lowers):
    """Of a checkpoint that has only a list of words and `do_lower_case`, as BERT's first ones; in the copy too."""
    library, source = pytest.importorskip("sentence_transformers"), tmp_path / "cased"
    tiny_encoder.save_pretrained(source)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "apple", "Apple", "cafe", "café", "Café"]
    (source / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": lowers}))
    describe(source, MEAN, [NORMALIZE])
    folder, texts = taken_over(tmp_path, source), ["Apple", "apple Café"]
    found = TextEncoder(folder, FP32).queries(texts)
    for place in (source, folder):
        np.testing.assert_allclose(found, library.SentenceTransformer(str(place), device="cpu").encode(texts), atol=1e-5)
    ids = open_retriever(folder).reader.queries(texts)
    assert [words[token] for token in ids[1][1:-1]] == (["apple", "cafe"] if lowers else ["apple", "Café"])


def test_prompts_for_other_uses_are_handed_on(published, tmp_path):
    """And are no other model: neither vectors nor fingerprint depend on them. A training that starts from the copy hands them on again."""
    prompts = {"query": "find ", "document": "", "Clustering": "group by topic: "}
    source = published(pooling=MEAN, settings={"prompts": prompts}, behind=[NORMALIZE])
    folder = taken_over(tmp_path, source)
    assert json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"] == prompts
    start = open_retriever(folder)
    assert start.reading.prompts == (("Clustering", "group by topic: "),)
    bare = folder / "simlm.json"
    before = model_fingerprint(folder)
    bare.write_text(json.dumps({key: value for key, value in json.loads(bare.read_text()).items() if key != "prompts"}))
    assert model_fingerprint(folder) == before


def test_prompts_alone_are_read(tmp_path, tiny_encoder, word_tokenizer):
    for part in (tiny_encoder, word_tokenizer):
        part.save_pretrained(tmp_path / "start")
    (tmp_path / "start/config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "find ", "passage": "list of "}}))
    found = open_retriever(tmp_path / "start")
    assert (found.reading.query_prompt, found.reading.passage_prompt, found.reading.pooling) == ("find ", "list of ", ("cls",))
    assert found.said_by == "config_sentence_transformers.json"
