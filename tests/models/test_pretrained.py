"""The base and generator that come with the repository: whole, of one vocabulary, and what their configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simlm.config import load_experiment
from simlm.files import sha256_file
from simlm.models.loading import load_tokenizer
from simlm.models.masked_language_model import load_masked_language_model
from simlm.text.vocabulary import Vocabulary
from simlm.training.masking import whole_word_mask, word_ids
from simlm.training.randomness import uniform

ROOT = Path(__file__).resolve().parents[2]
PRETRAINED = ROOT / "pretrained"


def test_files_are_those_of_the_list() -> None:
    listed = dict(reversed(line.split()) for line in (PRETRAINED / "SHA256SUMS").read_text().splitlines())
    found = {str(path.relative_to(PRETRAINED)): sha256_file(path) for path in PRETRAINED.glob("pydocs-*/*")}
    assert found == listed
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*.safetensors")) < 6_000_000


@pytest.mark.parametrize("name", ["base", "generator"])
def test_shape_is_that_of_the_committed_configuration(name: str) -> None:
    size = load_experiment(ROOT / "config" / "pretrained.yaml").models[name].size
    model = load_masked_language_model(PRETRAINED / f"pydocs-{name}", load_tokenizer(PRETRAINED / "pydocs-base"))
    config = model.config
    shape = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size, config.max_position_embeddings)
    assert shape == (size.layers, size.hidden, size.heads, size.intermediate, size.positions)


@pytest.mark.parametrize(("name", "least"), [("base", 0.25), ("generator", 0.12)])
def test_masked_words_are_guessed_far_better_than_by_frequency(name: str, least: float) -> None:
    """Text that is in no corpus; always guessing the most frequent word restores about one word in twenty."""
    text = """This function returns a new array with the elements of the input sorted along the given axis. If the axis is not
    specified, the array is flattened before it is sorted. The default value is False. Raises a ValueError if the number of
    columns does not match the length of the list. See the documentation of the class for an example of how to use it."""
    tokenizer = load_tokenizer(PRETRAINED / f"pydocs-{name}")
    model = load_masked_language_model(PRETRAINED / f"pydocs-{name}", tokenizer).eval()
    vocabulary = Vocabulary.of(tokenizer)
    encoded = tokenizer(["sort an array"] * 40, [" ".join(text.split())] * 40, return_tensors="pt", truncation=True, max_length=64)
    ids = encoded["input_ids"].numpy()
    words = word_ids(ids, vocabulary.continues, vocabulary.special)
    import numpy as np

    mask = torch.from_numpy(whole_word_mask(words, np.full(40, ids.shape[1]), 0.15, uniform(0, 0, np.arange(40)[:, None], ids.shape[1])))
    with torch.inference_mode():
        logits = model(**{**encoded, "input_ids": encoded["input_ids"].masked_fill(mask, vocabulary.mask)}).logits
    right = (logits.argmax(-1) == encoded["input_ids"])[mask].float().mean().item()
    assert right > least
