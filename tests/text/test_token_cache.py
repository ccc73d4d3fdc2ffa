"""The one token cache: what it holds, what its key tells apart, and what races, damage and kills leave of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.models import reading
from simlm.models.text import Tokens, tokenize_passages
from simlm.text import token_cache
from simlm.text.token_cache import HEADER, TokenCache, cache_bytes, tokenizer_digest

WORDS = ["swap", "two", "columns", "invert", "a", "matrix", "of", "numbers", "and", "the"]
ROWS, LENGTH = 70, 12


def write(folder, seed=1):
    draw = np.random.default_rng(seed)
    passages = [(f"d{row}", " ".join(draw.choice(WORDS, row % 3)), " ".join(draw.choice(WORDS, 1 + int(draw.integers(0, 20))))) for row in range(ROWS)]
    write_corpus(folder, passages, {"test": ([("q", "swap columns")], [("q", "d0", 1)])}, {"source": "test"})
    return CorpusStore(folder)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(token_cache, "PART", 16)


@pytest.fixture
def store(tmp_path):
    return write(tmp_path / "corpus")


@pytest.fixture
def tokenized(monkeypatch):
    """Rows that are tokenized from here on."""
    rows = []

    def counting(tokenizer, titles, texts, length, prompt):
        rows.extend(texts)
        return tokenize_passages(tokenizer, titles, texts, length, prompt)

    monkeypatch.setattr(reading, "tokenize_passages", counting)
    return rows


def same(one: Tokens, other: Tokens) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "offsets", "second"))


def test_training_and_encoding_read_the_tokens_of_the_tokenizer(tmp_path, store, word_tokenizer, tokenized):
    direct = tokenize_passages(word_tokenizer, *store.texts(range(ROWS)), LENGTH)
    cache = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    whole, draw = cache.whole(), np.random.default_rng(2)
    assert whole.lengths.tolist() == direct.lengths.tolist()
    for rows in ([], [69, 0, 16, 15, 0], draw.integers(0, ROWS, 200)):
        assert same(whole.take(rows), direct.take(rows))
    assert len(tokenized) == ROWS
    again = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    for first, last in ((0, 16), (5, 40), (64, ROWS), (0, ROWS)):
        assert same(again.block(first, last), direct.take(range(first, last)))
    assert len(tokenized) == ROWS  # whoever comes second tokenizes nothing


def test_the_size_foretold_is_that_on_disk(tmp_path, store, word_tokenizer):
    cache = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    tokens = int(cache.whole().lengths.sum())
    assert sum(file.stat().st_size for file in cache.folder.glob("*.tokens")) == cache_bytes(ROWS, tokens)
    assert {file.name for file in cache.folder.iterdir()} == {"about.json", *(f"{part:06d}.tokens" for part in range(5))}


def test_two_tokenizers_of_one_length_lie_beside_each_other(tmp_path, store, word_tokenizer):
    other = _without("columns", word_tokenizer)
    caches = [TokenCache(store, tokenizer, LENGTH, tmp_path / "tokens") for tokenizer in (word_tokenizer, other, word_tokenizer)]
    found = [cache.whole().take(range(ROWS)) for cache in caches]
    assert caches[0].folder == caches[2].folder != caches[1].folder
    assert same(found[0], found[2])
    assert not np.array_equal(found[0].ids, found[1].ids)
    assert same(found[1], tokenize_passages(other, *store.texts(range(ROWS)), LENGTH))


def _without(word, tokenizer):
    """The same tokenizer with the ids of two words exchanged."""
    from transformers import BertTokenizerFast

    vocabulary = tokenizer.get_vocab()
    vocabulary["swap"], vocabulary[word] = vocabulary[word], vocabulary["swap"]
    return BertTokenizerFast(vocab=vocabulary, model_max_length=tokenizer.model_max_length)


def test_a_digest_of_a_tokenizer_does_not_depend_on_what_it_was_asked(word_tokenizer):
    before = tokenizer_digest(word_tokenizer)
    word_tokenizer("swap two columns", truncation=True, max_length=4, padding="max_length")
    assert tokenizer_digest(word_tokenizer) == before


def test_another_length_is_another_cache(tmp_path, store, word_tokenizer):
    short, long = (TokenCache(store, word_tokenizer, length, tmp_path / "tokens").whole().lengths for length in (6, LENGTH))
    assert short.max() == 6
    assert long.max() == LENGTH


def test_the_tokens_of_an_earlier_corpus_are_removed(tmp_path, store, word_tokenizer):
    old = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    old.whole()
    changed = write(tmp_path / "changed", seed=2)
    new = TokenCache(changed, word_tokenizer, LENGTH, tmp_path / "tokens")
    assert same(new.whole().take(range(ROWS)), tokenize_passages(word_tokenizer, *changed.texts(range(ROWS)), LENGTH))
    assert [folder.name for folder in (tmp_path / "tokens").iterdir()] == [new.folder.name] != [old.folder.name]


@pytest.mark.parametrize("place", [20, HEADER + 9, -2], ids=["header", "lengths", "ids"])
@pytest.mark.parametrize("truncate", [False, True], ids=["changed", "truncated"])
def test_a_damaged_part_is_made_again_and_no_other(tmp_path, store, word_tokenizer, tokenized, place, truncate):
    cache = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    whole = cache.whole().take(range(ROWS))
    content = bytearray(cache.file(2).read_bytes())
    content[place] ^= 1
    cache.file(2).write_bytes(content[:place] if truncate else content)
    tokenized.clear()
    read = [TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens").whole().take(range(ROWS)), cache.block(0, ROWS)]
    assert len(tokenized) == 16
    assert all(same(one, whole) for one in read)


def _tokenize(folder, tokens, tokenizer, slow, report):
    """A process of its own: notes the parts that it makes."""
    token_cache.PART = 16
    plain = reading.tokenize_passages

    def noted(*arguments):
        report.put((os.getpid(), len(arguments[1])))
        time.sleep(slow)
        return plain(*arguments)

    reading.tokenize_passages = noted
    TokenCache(CorpusStore(folder), tokenizer, LENGTH, tokens).whole()
    report.put((os.getpid(), 0))


def test_processes_that_start_together_share_the_work_and_survive_a_kill(tmp_path, store, word_tokenizer):
    context = multiprocessing.get_context("fork")
    report = context.Queue()
    arguments = (store.folder, tmp_path / "tokens", word_tokenizer)
    doomed = context.Process(target=_tokenize, args=(*arguments, 60, report))
    doomed.start()
    assert report.get(timeout=60) == (doomed.pid, 16)  # it holds the first part
    others = [context.Process(target=_tokenize, args=(*arguments, 0.2, report)) for _ in range(2)]
    for process in others:
        process.start()
    made = [report.get(timeout=60) for _ in range(4)]
    os.kill(doomed.pid, signal.SIGKILL)
    while len(made) < 7:
        made.append(report.get(timeout=60))
    for process in (doomed, *others):
        process.join(60)
    assert [process.exitcode for process in others] == [0, 0]
    assert {pid for pid, rows in made if rows} == {process.pid for process in others}
    assert sorted(rows for _, rows in made) == [0, 0, 6, 16, 16, 16, 16]  # each part once, that of the killed one too
    direct = tokenize_passages(word_tokenizer, *store.texts(range(ROWS)), LENGTH)
    cache = TokenCache(store, word_tokenizer, LENGTH, tmp_path / "tokens")
    assert same(cache.whole().take(range(ROWS)), direct)
    assert json.loads((cache.folder / "about.json").read_text())["length"] == LENGTH
