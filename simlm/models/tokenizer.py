"""The experiment's vocabulary: a WordPiece tokenizer trained on the corpus, or a published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from simlm.config.experiment import Tokenizer
from simlm.corpus.store import CorpusStore

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine
    from tokenizers.normalizers import Normalizer
    from tokenizers.trainers import WordPieceTrainer
    from transformers import PreTrainedTokenizerFast

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_BLOCK = 4096
_RARE = 1e-6
"""Characters below this share of the text get no token of their own; words with them become [UNK]."""
_LEFT_OUT = 1e-3
"""Share of the text's characters that a short alphabet may leave out; beyond it the alphabet grows at the cost of words."""
_SAMPLE = 5_000
"""Passages at most in which unknown tokens are counted."""
MANY_UNKNOWN = 0.01
"""Share of unknown tokens above which a vocabulary is no good for its corpus."""


def train_wordpiece(store: CorpusStore, settings: Tokenizer, training_queries: list[str]):
    """Train a BERT-like WordPiece tokenizer on titles, texts and training queries.

    Parameters
    ----------
    store
        The corpus.
    settings
        Size and normalisation.
    training_queries
        Texts of training queries; those of other splits are never looked at.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Its ``[CLS] A [SEP] B [SEP]`` template and token types are BERT's. With the same input the vocabulary is the same.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Engine
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    raw = _characters(_texts(store, training_queries))
    steps = [normalizers.NFD(), normalizers.StripAccents()]
    if _marks_are_letters(raw):
        # Accents go, as in BERT, but not the vowels of Hindi and Thai nor the voicing marks of kana, which are marks as well.
        accents = Regex(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}])\p{Mn}+")
        steps = [normalizers.NFD(), normalizers.Replace(accents, ""), normalizers.NFC()]
    if settings.split_names:
        steps.append(normalizers.Replace(Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"), " "))
        steps.append(normalizers.Replace(Regex(r"(?<=\w)[._]+(?=\w)|_+"), " "))
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
        if _share(raw, lambda character: character == "ς") > _LEFT_OUT:
            # The last s of a Greek word, which no capital has: ΟΔΟΣ becomes οδοσ, and so must οδος.
            steps.append(normalizers.Replace("ς", "σ"))
    normalizer = normalizers.Sequence([normalizers.BertNormalizer(lowercase=False, strip_accents=False), *steps])

    def train(alphabet: list[str]) -> Engine:
        engine = Engine(WordPiece(unk_token=SPECIAL["unk_token"], **_long_words(raw)))
        engine.normalizer, engine.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
        engine.train_from_iterator(_texts(store, training_queries), _trainer(sorted(alphabet), settings.vocabulary))
        return engine

    frequent, total = _frequent(raw, normalizer)
    alphabet = _alphabet(frequent, total, settings.vocabulary)
    engine = train(alphabet)
    free = settings.vocabulary - engine.get_vocab_size(with_added_tokens=True)
    if more := _that_fit(list(frequent)[len(alphabet) :], free):
        engine = train([*alphabet, *more])  # the words are all in, so what they leave goes to characters
    engine = _with_vocabulary(engine)
    cls, sep = (SPECIAL[name] for name in ("cls_token", "sep_token"))
    ids = {token: engine.token_to_id(token) for token in (cls, sep)}
    engine.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0", pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(tokenizer_object=engine, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **SPECIAL)


def _with_vocabulary(trained: Engine) -> Engine:
    """The same tokenizer without the tokens that were special for the training alone."""
    from tokenizers import Tokenizer as Engine
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from tokenizers.models import WordPiece

    longest = trained.model.max_input_chars_per_word
    engine = Engine(WordPiece(trained.get_vocab(with_added_tokens=True), unk_token=SPECIAL["unk_token"], max_input_chars_per_word=longest))
    engine.normalizer, engine.pre_tokenizer, engine.decoder = trained.normalizer, trained.pre_tokenizer, WordPieceDecoder()
    return engine


def _trainer(alphabet: list[str], vocabulary: int) -> WordPieceTrainer:
    from tokenizers.trainers import WordPieceTrainer

    # Equally frequent merges are taken in the order of the tokens' ids, which the trainer hands out in the order of
    # a hash map. Tokens that are "special" while it runs have their ids before, so the vocabulary is always the same.
    inside = [f"##{letter}" for letter in alphabet if (letter.isalnum() or not letter.isascii()) and not _is_a_word(letter)]
    return WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL.values(), *alphabet, *inside],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        min_frequency=2,
        show_progress=False,
    )


def _is_a_word(letter: str) -> bool:
    """Whether BERT's normalisation puts spaces around a character, so that it never stands inside a word: Han."""
    code = ord(letter)
    return 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2CEAF or 0xF900 <= code <= 0xFAFF or 0x2F800 <= code <= 0x2FA1F


def _characters(texts: Iterator[list[str]]) -> Counter[str]:
    """How often each character occurs."""
    raw: Counter[str] = Counter()
    for block in texts:
        raw.update("".join(block))
    return raw


def _frequent(raw: Counter[str], normalizer: Normalizer) -> tuple[dict[str, int], int]:
    """Characters after normalisation with their counts, the most frequent first, without spaces and the rarest; and the count of all."""
    counts: Counter[str] = Counter()
    for character, count in raw.items():
        for normalised in normalizer.normalize_str(character):
            if not normalised.isspace():
                counts[normalised] += count
    total = counts.total()
    frequent = [character for character, count in counts.items() if count > _RARE * total]
    return {character: counts[character] for character in sorted(frequent, key=lambda character: (-counts[character], character))}, total


def _share(raw: Counter[str], wanted: Callable[[str], bool]) -> float:
    return sum(count for character, count in raw.items() if wanted(character)) / max(1, raw.total())


def _marks_are_letters(raw: Counter[str]) -> bool:
    """Whether the text is, to more than a thousandth, of scripts whose marks are not accents."""
    import unicodedata

    def is_one(character: str) -> bool:
        marks = [part for part in unicodedata.normalize("NFD", character) if unicodedata.category(part) == "Mn"]
        # Accents of Latin, Greek and Cyrillic letters; points of Hebrew and Arabic, which are written or not.
        return any(not ("\u0300" <= mark <= "\u036f" or "\u0591" <= mark <= "\u06ed") for mark in marks)

    return _share(raw, is_one) > _LEFT_OUT


def _long_words(raw: Counter[str]) -> dict[str, int]:
    """WordPiece gives up on words of more than 100 characters, which whole sentences are where words have no borders."""
    unbordered = _share(raw, lambda character: "\u0e00" <= character <= "\u0eff" or "\u1000" <= character <= "\u109f" or "\u1780" <= character <= "\u17ff")
    kana = _share(raw, lambda character: "\u3041" <= character <= "\u30ff")
    return {"max_input_chars_per_word": 1000} if max(unbordered, kana) > _LEFT_OUT else {}


def _price(character: str) -> int:
    """Tokens that a character takes: by itself, and inside a word."""
    return 1 if _is_a_word(character) else 2


def _alphabet(frequent: dict[str, int], total: int, vocabulary: int) -> list[str]:
    """Characters that get a token, the most frequent first.

    An eighth of the vocabulary is theirs. If that leaves out more than a thousandth of the text, they get as many as the
    text needs, in up to three quarters of the vocabulary.
    """
    letters = list(frequent)
    chosen, rest = letters[: vocabulary // 8], letters[vocabulary // 8 :]
    room, left = 3 * vocabulary // 4 - sum(map(_price, chosen)), sum(frequent[letter] for letter in rest)
    for letter in rest:
        room -= _price(letter)
        if room < 0 or left <= _LEFT_OUT * total:
            break
        chosen.append(letter)
        left -= frequent[letter]
    return chosen


def _that_fit(letters: list[str], places: int) -> list[str]:
    """As many of the first letters as have room in so many places."""
    ends = accumulate(map(_price, letters))
    return [letter for letter, end in zip(letters, ends) if end <= places]


def unknown_share(tokenizer: PreTrainedTokenizerFast, store: CorpusStore) -> float:
    """Share of the unknown among the tokens of at most 5,000 passages, spread over the corpus."""
    unknown = tokens = 0
    step = -(-len(store) // _SAMPLE)
    for start in range(0, len(store), step * 1000):
        _, texts = store.texts(list(range(start, min(len(store), start + step * 1000), step)))
        for found in tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False):
            unknown += found.ids.count(tokenizer.unk_token_id)
            tokens += len(found.ids)
    return unknown / max(1, tokens)


def _texts(store: CorpusStore, training_queries: list[str]) -> Iterator[list[str]]:
    for batch in store.iter_batches(0, len(store), _BLOCK):
        yield batch.titles
        yield batch.texts
    yield training_queries
