"""Published models by their file layout: what is loaded is what transformers computes with the same weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from published_models import write_all, write_tokenizer
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from simlm.config import validate
from simlm.context import Context
from simlm.corpus.store import write_corpus
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.crossencoder import PairScorer
from simlm.models.given import take_over
from simlm.models.loading import load_classifier, load_encoder, load_tokenizer, load_trained_classifier
from simlm.models.manifest import read_manifest
from simlm.models.masked_language_model import load_masked_language_model
from simlm.paths import Paths
from simlm.retrieval.encoder import TextEncoder
from simlm.training.bottleneck import build

QUERIES, TITLES, TEXTS = ["what flows", "what burns fast"], ["river", ""], ["the river flows to the sea", "a battery burns"]
FP32 = Precision("fp32", "test")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("hub"), " ".join([*QUERIES, *TITLES, *TEXTS]).split())


def context(folder, hub, **models):
    retriever = {"kind": "given_biencoder", "init": str(hub / "intfloat/simlm-base-msmarco-finetuned"), **models.pop("distilled", {})}
    reranker = {"kind": "given_crossencoder", "init": str(hub / "intfloat/simlm-msmarco-reranker"), "rerank": "distilled", **models.pop("reranker", {})}
    values = {
        "name": "given",
        "corpus": {"source": "beir", "path": "nowhere", "splits": {"dev": "dev"}},
        "models": {"distilled": retriever, "reranker": reranker, **models},
        "evaluate": {"systems": ["bm25", "distilled", "reranker"], "splits": {"dev": {}}, "main_split": "dev"},
    }
    return Context(validate(values), Paths(folder / "given"))


def test_the_card_of_a_retriever_that_reads_in_its_own_way_computes_its_vectors(hub, tmp_path):
    """The code of the card, run as it stands, gives what is searched; the sentence names the pooling and the prompts."""
    reading = {"pooling": "mean", "query_prompt": "query: ", "passage_prompt": "passage: ", "title": "joined", "query_length": 24, "passage_length": 24}
    here = context(tmp_path, hub, distilled=reading)
    take_over(here, "distilled")
    folder = here.paths.model("distilled")
    card = (folder / "README.md").read_text()
    assert "mean of the last hidden states of its tokens, L2-normalised" in card
    assert "first token" not in card
    assert "Queries are read after the prompt 'query: '." in card
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder)).replace("a question", QUERIES[0])
    told = {}
    exec(code.replace("title and text of the passage", f"{TITLES[0]} {TEXTS[0]}"), told)
    encoder = TextEncoder(folder, FP32)
    torch.testing.assert_close(torch.as_tensor(told["queries"]), torch.from_numpy(encoder.queries(QUERIES[:1])), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.as_tensor(told["passages"]), torch.from_numpy(encoder.passages(TITLES[:1], TEXTS[:1])), atol=1e-5, rtol=0)


def test_the_retriever_embeds_as_its_card_says(hub, tmp_path):
    here = context(tmp_path, hub)
    take_over(here, "distilled")
    folder = here.paths.model("distilled")
    source = hub / "intfloat/simlm-base-msmarco-finetuned"
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source, use_safetensors=False).eval()

    def reference(length, *texts):
        batch = tokenizer(*texts, max_length=length, truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            return torch.nn.functional.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)

    encoder = TextEncoder(folder, FP32)
    torch.testing.assert_close(torch.from_numpy(encoder.queries(QUERIES)), reference(32, QUERIES), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.from_numpy(encoder.passages(TITLES, TEXTS)), reference(144, ["river", "-"], TEXTS), atol=1e-6, rtol=0)
    manifest = read_manifest(folder)
    assert (manifest["kind"], manifest["lengths"], manifest["given"]["init"]) == ("biencoder", {"query": 32, "passage": 144}, str(source))
    assert "nothing was trained here" in (folder / "README.md").read_text()
    record = json.loads(here.paths.record("import_model.distilled").read_text())
    assert {"config.json", "pytorch_model.bin", "tokenizer.json"} <= {name.rpartition("/")[2] for name in record["inputs"]}, record["inputs"]


def test_cocondensers_layout_is_read_as_its_authors_encode(hub, tmp_path):
    """``title [SEP] text`` as one text, token types 0 everywhere, the last state of [CLS] as it is, inner products."""
    source = hub / "Luyu/co-condenser-marco-retriever"
    reading = {"init": str(source), "normalize": False, "similarity": "dot", "title": "separated", "query_length": 32, "passage_length": 128}
    here = context(tmp_path, hub, distilled=reading)
    take_over(here, "distilled")
    folder = here.paths.model("distilled")
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source, use_safetensors=False).eval()

    def by_hand(pieces: list[list[str]], length: int) -> torch.Tensor:
        vectors = []
        for parts in pieces:
            ids = [tokenizer.cls_token_id]
            for part in parts:
                ids += [*tokenizer(part, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
            assert len(ids) <= length
            with torch.inference_mode():
                vectors.append(model(input_ids=torch.tensor([ids]), token_type_ids=torch.zeros(1, len(ids), dtype=torch.int64)).last_hidden_state[0, 0])
        return torch.stack(vectors)

    encoder = TextEncoder(folder, FP32)
    passages = by_hand([["river", TEXTS[0]], ["-", TEXTS[1]]], 128)
    torch.testing.assert_close(torch.from_numpy(encoder.passages(["river", ""], TEXTS)), passages, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.from_numpy(encoder.queries(QUERIES)), by_hand([[query] for query in QUERIES], 32), atol=1e-5, rtol=0)
    assert not torch.allclose(passages.norm(dim=1), torch.ones(2), atol=0.1)
    card = (folder / "README.md").read_text()
    assert "Title and text are read as one, [SEP] between them." in card
    from sentence_transformers import SentenceTransformer

    told = SentenceTransformer(str(folder)).encode_document([f"river [SEP] {TEXTS[0]}"])
    torch.testing.assert_close(torch.as_tensor(told), passages[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("untitled", "second"), [("text", TEXTS[1]), ("dash", f"-: {TEXTS[1]}")])
def test_the_re_ranker_reads_pairs_as_its_card_says(hub, tmp_path, untitled, second):
    here = context(tmp_path, hub, reranker={"untitled": untitled})
    take_over(here, "reranker")
    source = hub / "intfloat/simlm-msmarco-reranker"
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModelForSequenceClassification.from_pretrained(source).eval()
    batch = tokenizer([QUERIES[0]] * 2, [f"river: {TEXTS[0]}", second], max_length=192, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        wanted = model(**batch).logits[:, 0]
    found = PairScorer.open(here.paths.model("reranker"), FP32).score(QUERIES[0], TITLES, TEXTS)
    torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_without_a_head_is_no_re_ranker(hub, tmp_path):
    here = context(tmp_path, hub, reranker={"init": str(hub / "google/electra-base-discriminator")})
    with pytest.raises(UserError, match=r"has no head that scores a query and a passage \(classifier\..* is missing\): it is an encoder, not a re-ranker"):
        take_over(here, "reranker")
    assert not here.paths.model("reranker").exists()
    assert load_classifier(hub / "google/electra-base-discriminator").config.num_labels == 1


def test_lengths_beyond_the_model_are_refused(hub, tmp_path):
    here = context(tmp_path, hub, distilled={"passage_length": 600})
    with pytest.raises(UserError, match=r"models\.distilled\.passage_length is 600, but .* reads at most 512 tokens"):
        take_over(here, "distilled")


def test_electra_starts_a_cross_encoder_with_its_own_body(hub):
    """The head of ELECTRA's classifier is a layer of its own; BERT's would read a pooler that ELECTRA does not have."""
    source = hub / "google/electra-base-discriminator"
    body, model = AutoModel.from_pretrained(source, use_safetensors=False), load_classifier(source)
    for name, value in body.state_dict().items():
        torch.testing.assert_close(model.electra.state_dict()[name], value, msg=name)
    assert model.classifier.out_proj.weight.shape == (1, 16)


@pytest.mark.parametrize("name", ["google-bert/bert-base-uncased", "google/electra-base-generator"])
def test_language_models_come_with_their_heads(hub, name):
    """Old names of layer norms and tied output layers: the logits are those of transformers' own loading."""
    tokenizer = load_tokenizer(hub / name)
    ours = load_masked_language_model(hub / name, tokenizer)
    theirs = AutoModelForMaskedLM.from_pretrained(hub / name, use_safetensors=(hub / name / "model.safetensors").exists()).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(**batch).logits, theirs(**batch).logits)
    stored = read_weights(hub / name)
    embeddings = next(value for key, value in stored.items() if key.endswith("word_embeddings.weight"))
    torch.testing.assert_close(ours.get_input_embeddings().weight, embeddings)
    norm = next(value for key, value in stored.items() if key.endswith(("0.output.LayerNorm.gamma", "0.output.LayerNorm.weight")))
    torch.testing.assert_close(ours.base_model.encoder.layer[0].output.LayerNorm.weight, norm)


def read_weights(folder):
    if (folder / "pytorch_model.bin").exists():
        return torch.load(folder / "pytorch_model.bin", weights_only=True)
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_bert_and_electra_pretrain_together_only_with_one_vocabulary(hub, tmp_path):
    passages = [(str(i), "", text) for i, text in enumerate(TEXTS)]
    write_corpus(tmp_path / "given/corpus", passages, {"dev": ([("q", "what")], [("q", "0", 1)])}, {"source": "test"})
    simlm = {"kind": "bottleneck", "init": str(hub / "google-bert/bert-base-uncased"), "generator": str(hub / "google/electra-base-generator"), "steps": 1}
    here = context(tmp_path, hub, simlm=simlm)
    tokenizer = load_tokenizer(simlm["init"])
    model = build(here, "simlm", tokenizer)
    assert model.generator.config.embedding_size != model.generator.config.hidden_size
    other = tmp_path / "other"
    order = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    write_tokenizer(other, [*order[:-2], order[-1], order[-2]])
    shutil.copy(hub / "google/electra-base-generator/config.json", other)
    shutil.copy(hub / "google/electra-base-generator/pytorch_model.bin", other)
    assert len(load_tokenizer(other)) == len(tokenizer)
    with pytest.raises(UserError, match="has another vocabulary than the experiment"):
        load_masked_language_model(other, tokenizer)


def test_a_given_model_of_the_graph_or_a_missing_one_is_refused(hub, tmp_path):
    with pytest.raises(UserError, match=r"models\.reranker\.init: 'distilled' is of kind given_biencoder, but init takes a Hugging Face id or a folder"):
        context(tmp_path, hub, reranker={"init": "distilled"})
    with pytest.raises(UserError, match=r"models\.reranker\.rerank: no model is called 'distiled'; did you mean 'distilled'\?"):
        context(tmp_path, hub, reranker={"rerank": "distiled"})
    assert load_encoder(hub / "intfloat/simlm-base-msmarco-finetuned").config.model_type == "bert"
    assert load_trained_classifier(hub / "intfloat/simlm-msmarco-reranker").config.model_type == "electra"
