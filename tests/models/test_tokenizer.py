"""The vocabulary of a corpus: the same every time, BERT's conventions, names cut where asked."""

from __future__ import annotations

import numpy as np
import pytest

from simlm.config.experiment import Tokenizer
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.models.tokenizer import train_wordpiece


@pytest.fixture
def store(tmp_path) -> CorpusStore:
    """Random text with many equally frequent pairs, accents, Greek, and symbols that are no punctuation."""
    draw = np.random.default_rng(0)
    syllables = ["ka", "lo", "mi", "ßu", "né", "αβ", "x²", "t°", "ru", "so"]
    texts = [" ".join("".join(draw.choice(syllables, 3)) for _ in range(30)) for _ in range(60)]
    passages = [(f"p{i}", f"pkg.read_csv{i}", text + " StandardScaler HTTPServer foo_bar.baz") for i, text in enumerate(texts)]
    write_corpus(tmp_path / "corpus", passages, {"test": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    return CorpusStore(tmp_path / "corpus")


def test_vocabulary_is_the_same_every_time(store: CorpusStore) -> None:
    vocabularies = [train_wordpiece(store, Tokenizer(vocabulary=500), ["a query"]).get_vocab() for _ in range(6)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)


def test_conventions_are_those_of_bert(store: CorpusStore, tmp_path) -> None:
    from transformers import AutoTokenizer, BertTokenizerFast

    trained = train_wordpiece(store, Tokenizer(vocabulary=500), [])
    trained.save_pretrained(tmp_path / "tokenizer")
    ours = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    theirs = BertTokenizerFast(vocab=ours.get_vocab(), do_lower_case=True)
    for pair in (("Kalo, minénü!", "x² t° foo_bar"), ("-", "lokalo [MASK] (ru)")):
        mine, reference = ours(*pair), theirs(*pair)
        assert mine["input_ids"] == reference["input_ids"]
        assert mine["token_type_ids"] == reference["token_type_ids"]
    assert ours.convert_ids_to_tokens([0, 1, 2, 3, 4]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_names_are_cut_where_asked(store: CorpusStore) -> None:
    cut, whole = (train_wordpiece(store, Tokenizer(vocabulary=900, split_names=split), []) for split in (True, False))
    for name, parts in (("StandardScaler", "standard scaler"), ("HTTPServer", "http server"), ("foo_bar.baz", "foo bar baz"), ("__init__", "init")):
        assert cut.tokenize(name) == cut.tokenize(parts)
    assert cut.tokenize("End. Next") == cut.tokenize("end . next")
    assert whole.tokenize("foo_bar")[1] == "_" or "_" in "".join(whole.tokenize("foo_bar"))
