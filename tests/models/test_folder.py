"""A saved model is what transformers and sentence-transformers load; bad folders give a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, ElectraConfig, ElectraModel

from simlm.errors import UserError
from simlm.files import sha256_file
from simlm.models.folder import save_model
from simlm.models.loading import check_length, fit_tokenizer, load_classifier, load_encoder, load_tokenizer
from simlm.models.manifest import model_fingerprint, read_manifest
from simlm.models.text import pad, tokenize_passages

TITLES, TEXTS = ["matrix", ""], ["swap two columns of numbers", "invert"]


@pytest.fixture
def saved(tmp_path, word_tokenizer, tiny_encoder):
    save_model(tmp_path / "m", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    return tmp_path / "m"


def embed(model, batch):
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.eval()(**batch).last_hidden_state[:, 0], dim=-1)


def test_plain_transformers_gives_the_same_embedding_without_a_warning(saved, word_tokenizer, tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert tokenizer.model_max_length == tiny_encoder.config.max_position_embeddings
    batch = tokenizer([title or "-" for title in TITLES], TEXTS, max_length=24, truncation=True, padding=True, return_tensors="pt")
    ours = embed(tiny_encoder, pad(tokenize_passages(word_tokenizer, TITLES, TEXTS, 24), word_tokenizer))
    torch.testing.assert_close(embed(AutoModel.from_pretrained(saved), batch), ours)
    torch.testing.assert_close(embed(load_encoder(saved), batch), ours)
    script = "import sys, transformers; [auto.from_pretrained(sys.argv[1]) for auto in (transformers.AutoModel, transformers.AutoTokenizer)]"
    done = subprocess.run([sys.executable, "-c", script, str(saved)], capture_output=True, text=True, check=True)
    assert "MISSING" not in done.stderr
    assert "UNEXPECTED" not in done.stderr


def test_sentence_transformers_opens_the_folder(saved, tiny_encoder, word_tokenizer):
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(saved), device="cpu")
    assert model.max_seq_length == 24
    ours = embed(tiny_encoder, pad(tokenize_passages(word_tokenizer, ["matrix", "-"], TEXTS, 24), word_tokenizer))
    theirs = model.encode([("matrix", TEXTS[0]), ("-", TEXTS[1])], convert_to_tensor=True)
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)


def test_manifest_holds_the_digest_of_the_weights(saved):
    manifest = read_manifest(saved)
    assert manifest["kind"] == "biencoder"
    assert manifest["pooling"] == "cls"
    assert manifest["lengths"] == {"query": 8, "passage": 24}
    assert model_fingerprint(saved) == sha256_file(saved / "model.safetensors")


def test_classifier_starts_from_an_encoder_and_comes_back(saved, tmp_path, word_tokenizer):
    model = load_classifier(saved)
    assert model.config.num_labels == 1
    save_model(tmp_path / "c", model, word_tokenizer, kind="crossencoder", key="k", lengths={"pair": 24})
    again = load_classifier(tmp_path / "c")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_a_model_without_pooler(tmp_path, word_tokenizer):
    config = ElectraConfig(vocab_size=len(word_tokenizer), embedding_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    model = ElectraModel(config)
    save_model(tmp_path / "e", model, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8})
    torch.testing.assert_close(load_encoder(tmp_path / "e").embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)
    assert load_classifier(tmp_path / "e").config.num_labels == 1


def test_dropout_is_of_this_training_alone(saved, tmp_path, word_tokenizer):
    def dropouts(model):
        return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}

    own = dropouts(load_encoder(saved))
    assert 0.25 not in own
    model = load_encoder(saved, dropout=0.25)
    assert dropouts(model) == {0.25}
    save_model(tmp_path / "n", model, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    assert dropouts(load_encoder(tmp_path / "n")) == own


def test_truncated_weights_are_refused(saved):
    weights = saved / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(UserError, match="truncated"):
        read_manifest(saved)
    with pytest.raises(UserError, match=r"does not hold a model that transformers can read"):
        load_encoder(saved)


def test_config_of_another_model_is_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] + 1}))
    with pytest.raises(UserError, match=r"lacks .* weights of its encoder"):
        load_encoder(saved)


def test_absent_and_foreign_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_encoder(tmp_path / "empty")
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(UserError, match="run simlm train --model nothing"):
        read_manifest(tmp_path / "nothing")


class Malice:
    def __reduce__(self):
        return (os.mkdir, ("malice",))


def test_pickled_weights_are_read_but_run_no_code(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_encoder.config.save_pretrained(tmp_path / "p")
    torch.save(tiny_encoder.state_dict(), tmp_path / "p" / "pytorch_model.bin")
    for name, value in load_encoder(tmp_path / "p").state_dict().items():
        torch.testing.assert_close(value, tiny_encoder.state_dict()[name])
    torch.save({**tiny_encoder.state_dict(), "malice": Malice()}, tmp_path / "p" / "pytorch_model.bin")
    with pytest.raises(UserError, match="does not hold a model"):
        load_encoder(tmp_path / "p")
    assert not (tmp_path / "malice").exists()


def test_vocabulary_and_length_must_fit(tiny_encoder, word_tokenizer):
    fit_tokenizer(word_tokenizer, tiny_encoder, "m")
    word_tokenizer.add_tokens(["neverseen"])
    with pytest.raises(UserError, match="token embeddings"):
        fit_tokenizer(word_tokenizer, tiny_encoder, "m")
    with pytest.raises(UserError, match="lower passage_length"):
        check_length(tiny_encoder, 65, "passage_length", "m")
