"""Vocabularies of corpora in other scripts: nothing that the text needs is unknown while there is room."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from simlm.cli import main
from simlm.config.experiment import Tokenizer
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.models.tokenizer import train_wordpiece, unknown_share


def store_of(folder, texts) -> CorpusStore:
    write_corpus(folder, [(f"p{i}", "", text) for i, text in enumerate(texts)], {"test": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    return CorpusStore(folder)


def chinese(characters: int, passages: int = 300) -> list[str]:
    """Passages over so many characters, the frequent ones as much more frequent as in real text (Zipf)."""
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, characters + 1)
    return ["".join(chr(0x4E00 + int(i)) for i in draw.choice(characters, 120, p=share / share.sum())) for _ in range(passages)]


def test_what_words_leave_goes_to_characters(tmp_path):
    store = store_of(tmp_path / "corpus", chinese(2500))
    trained = train_wordpiece(store, Tokenizer(vocabulary=4096), [])
    used = {character for text in chinese(2500) for character in text}
    assert 1500 < len(used) < 4000
    assert used <= set(trained.get_vocab())
    assert unknown_share(trained, store) == 0
    assert len(trained) == 5 + len(used), "none of them stands inside a word"


def test_a_vocabulary_that_is_too_small_takes_the_frequent_characters(tmp_path):
    texts = chinese(2500)
    store = store_of(tmp_path / "corpus", texts)
    trained = train_wordpiece(store, Tokenizer(vocabulary=1024), [])
    assert len(trained) == 1024
    counts = {character: sum(text.count(character) for text in texts) for character in set("".join(texts))}
    best = sorted(counts.values(), reverse=True)[: 1024 - 5]
    assert unknown_share(trained, store) == pytest.approx(1 - sum(best) / sum(counts.values()), abs=1e-9)


def test_characters_get_room_beside_words(tmp_path):
    """Half of the text is English with more words than places, half Chinese."""
    draw = np.random.default_rng(1)
    syllables = [a + b for a in "bcdfghklmnprst" for b in "aeiou"]
    english = [" ".join("".join(draw.choice(syllables, 3)) for _ in range(60)) for _ in range(300)]
    store = store_of(tmp_path / "corpus", [f"{one} {other}" for one, other in zip(english, chinese(600))])
    trained = train_wordpiece(store, Tokenizer(vocabulary=1024), [])
    assert len(trained) == 1024
    assert unknown_share(trained, store) < 0.01
    assert sum(token.isascii() and len(token.removeprefix("##")) > 1 for token in trained.get_vocab()) > 200, "and words keep a quarter"


@pytest.mark.parametrize(
    ("texts", "pairs"),
    [
        (["हिन्दी किताब की", "कि के का कु"] * 20, [("कि", "के"), ("कु", "का")]),
        (["กิน กัน กีน ที่นี่"] * 20, [("กิน", "กีน")]),
        (["がく かく ぱん はん"] * 20, [("がく", "かく"), ("ぱん", "はん")]),
    ],
)
def test_words_that_differ_in_a_mark_stay_different(tmp_path, texts, pairs):
    trained = train_wordpiece(store_of(tmp_path / "corpus", texts), Tokenizer(vocabulary=512), [])
    for one, other in pairs:
        assert trained(one)["input_ids"] != trained(other)["input_ids"], (one, other)
        assert trained.unk_token_id not in trained(one)["input_ids"]


def test_accents_and_points_that_are_no_letters_still_go(tmp_path):
    trained = train_wordpiece(store_of(tmp_path / "corpus", ["हिन्दी किताब café cafe", "שלום שָׁלוֹם"] * 20), Tokenizer(vocabulary=512), [])
    for one, other in (("café", "cafe"), ("cafe\u0301", "cafe"), ("שָׁלוֹם", "שלום")):
        assert trained(one)["input_ids"] == trained(other)["input_ids"]


def test_greek_capitals_and_small_letters_meet(tmp_path):
    """Whatever the accents, which capitals lack, and the last s, for which there is one capital."""
    trained = train_wordpiece(store_of(tmp_path / "corpus", ["η οδός της πόλης, ο δρόμος και το σχολείο"] * 20), Tokenizer(vocabulary=512), [])
    for one, other in (("ΟΔΟΣ", "οδός"), ("Ο ΔΡΌΜΟΣ", "ο δρόμος")):
        assert trained(one)["input_ids"] == trained(other)["input_ids"]
        assert trained.unk_token_id not in trained(one)["input_ids"]


def test_a_sentence_without_borders_is_not_one_unknown_word(tmp_path):
    sentence = "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย" * 5
    assert len(sentence) > 150
    store = store_of(tmp_path / "corpus", [sentence] * 10)
    assert unknown_share(train_wordpiece(store, Tokenizer(vocabulary=512), []), store) == 0


@pytest.mark.parametrize(("vocabulary", "cautioned"), [(4096, False), (256, True)])
def test_the_share_of_unknown_tokens_is_said(tmp_path, capsys, vocabulary, cautioned):
    store_of(tmp_path / "results" / "run" / "corpus", chinese(2500))
    values = {
        "name": "run", "results": str(tmp_path / "results"), "tokenizer": {"vocabulary": vocabulary},
        "corpus": {"source": "beir", "path": "unused", "splits": {"test": "test"}},
        "models": {"base": {"kind": "mlm", "size": {}, "steps": 1}},
        "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"},
    }  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    assert main(["train-tokenizer", "--config", str(file)]) == 0
    record = json.loads((tmp_path / "results" / "run" / "stages" / "train_tokenizer.json").read_text())
    said = capsys.readouterr().err
    assert "tokens unknown" in said
    assert (record["metrics"]["unknown_tokens"] > 0.01) is cautioned
    assert bool(record["notes"].get("cautions")) is cautioned
    assert ("are unknown to the vocabulary" in said) is cautioned
