"""Where words begin in the vocabularies of published models; the expected words were cut by hand."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import subword_tokenizer

from simlm.errors import UserError
from simlm.text.vocabulary import Vocabulary
from simlm.training.masking import whole_word_mask, word_ids

TEXTS = [
    "Searching the archives, (search twice). ",
    "東京都の天気は晴れです。",
    "приветствие мира",
    "हिन्दी भाषा में खोज",
    "naïve café 😀 x1y2",
    "a  b",
] * 3
WORDS = {
    "Searching archives": ["Searching", "archives"],
    "search, the archives.": ["search", ",", "the", "archives", "."],
    "приветствие мира": ["приветствие", "мира"],
    "東京都": ["東", "京", "都"],
    "हिन्दी भाषा": ["हिन्दी", "भाषा"],
    "naïve café x1y2": ["naïve", "café", "x1y2"],
}


def words_of(tokenizer, text: str) -> tuple[list[str], np.ndarray]:
    """The words that masking sees, as stretches of the text, and their numbers."""
    vocabulary = Vocabulary.of(tokenizer)
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids = np.array([encoded["input_ids"]])
    numbers = word_ids(ids, vocabulary.continues, vocabulary.special, vocabulary.ends)[0]
    places: dict[int, list[int]] = {}
    for number, (start, end), token in zip(numbers.tolist(), encoded["offset_mapping"], encoded.tokens()):
        if number >= 0 and token != "▁":  # which has the place of the letter behind it
            places[number] = [min(start, places.get(number, [start, end])[0]), max(end, places.get(number, [start, end])[1])]
    return [text[start:end].strip() for start, end in places.values()], numbers


@pytest.mark.parametrize("family", ["bytes", "pieces"])
@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize("vocabulary", [300, 420])
def test_words(family, text, vocabulary):
    """Whatever the pieces are: with few merges nearly every letter, or byte, is one."""
    found, numbers = words_of(subword_tokenizer(family, TEXTS, vocabulary), text)
    assert numbers[0] == numbers[-1] == -1  # <s> and </s>
    if text == "東京都":  # a piece of several Han is not cut
        assert "".join(found) == text
    else:
        assert found == WORDS[text]


def test_the_first_word_needs_no_mark():
    """RoBERTa writes no Ġ before the first word of a text."""
    found, numbers = words_of(subword_tokenizer("bytes", TEXTS, 300), "search the archives")
    assert found == ["search", "the", "archives"]
    assert (numbers[1:-1] >= 0).all()


def test_a_text_without_borders_is_no_single_word():
    """Otherwise it would be longer than any budget, and nothing of it were ever masked."""
    for family in ("bytes", "pieces"):
        tokenizer = subword_tokenizer(family, TEXTS)
        vocabulary, ids = Vocabulary.of(tokenizer), np.array([tokenizer(TEXTS[1])["input_ids"]])
        words = word_ids(ids, vocabulary.continues, vocabulary.special, vocabulary.ends)
        mask = whole_word_mask(words, np.array([ids.shape[1]]), 0.3, np.random.default_rng(0).random((1, ids.shape[1])))
        assert mask.sum() == max(1, round(0.3 * ids.shape[1]))


def test_wordpiece_is_read_as_before():
    """By its ## alone, so that trainings of BERT are what they were."""
    tokenizer = subword_tokenizer("wordpiece", TEXTS, 120)
    vocabulary = Vocabulary.of(tokenizer)
    assert not vocabulary.ends.any()
    assert {token for token, index in tokenizer.get_vocab().items() if vocabulary.continues[index]} == {t for t in tokenizer.get_vocab() if t.startswith("##")}


def test_marks_at_the_end_of_words():
    """BPE as of HerBERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.train_from_iterator(["ab abc"] * 5, trainers.BpeTrainer(vocab_size=9, end_of_word_suffix="</w>", special_tokens=["<pad>", "<mask>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, pad_token="<pad>", mask_token="<mask>")
    vocabulary, encoded = Vocabulary.of(tokenizer), tokenizer("abc ab")
    words = word_ids(np.array([encoded["input_ids"]]), vocabulary.continues, vocabulary.special, vocabulary.ends)[0].tolist()
    assert words == encoded.word_ids()
    assert len(words) > 2


def test_what_says_nowhere_where_words_begin_is_refused():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE({"a": 0, "<pad>": 1, "<mask>": 2}, []))
    with pytest.raises(UserError, match="does not say where words begin"):
        Vocabulary.of(PreTrainedTokenizerFast(tokenizer_object=engine, pad_token="<pad>", mask_token="<mask>"))
    with pytest.raises(UserError, match="no token for masked words"):
        Vocabulary.of(PreTrainedTokenizerFast(tokenizer_object=engine, pad_token="<pad>"))
