"""The experiment's vocabulary: a WordPiece tokenizer trained on the corpus, or a published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from simlm.config.experiment import Tokenizer
from simlm.corpus.store import CorpusStore

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine
    from tokenizers.normalizers import Normalizer

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_BLOCK = 4096
_RARE = 1e-6
"""Characters below this share of the text get no token of their own; words with them become [UNK]."""


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
    from tokenizers.trainers import WordPieceTrainer
    from transformers import PreTrainedTokenizerFast

    engine = Engine(WordPiece(unk_token=SPECIAL["unk_token"]))
    steps = [normalizers.NFD(), normalizers.StripAccents()]
    if settings.split_names:
        steps.append(normalizers.Replace(Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"), " "))
        steps.append(normalizers.Replace(Regex(r"(?<=\w)[._]+(?=\w)|_+"), " "))
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    engine.normalizer = normalizers.Sequence([normalizers.BertNormalizer(lowercase=False, strip_accents=False), *steps])
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet = _alphabet(engine.normalizer, _texts(store, training_queries), settings.vocabulary // 8)
    # Equally frequent merges are taken in the order of the tokens' ids, which the trainer hands out in the order of
    # a hash map. Tokens that are "special" while it runs have their ids before, so the vocabulary is always the same.
    fixed = [*SPECIAL.values(), *alphabet, *(f"##{letter}" for letter in alphabet if letter.isalnum() or not letter.isascii())]
    trainer = WordPieceTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=fixed,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        min_frequency=2,
        show_progress=False,
    )
    engine.train_from_iterator(_texts(store, training_queries), trainer)
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

    engine = Engine(WordPiece(trained.get_vocab(with_added_tokens=True), unk_token=SPECIAL["unk_token"]))
    engine.normalizer, engine.pre_tokenizer, engine.decoder = trained.normalizer, trained.pre_tokenizer, WordPieceDecoder()
    return engine


def _alphabet(normalizer: Normalizer, texts: Iterator[list[str]], most: int) -> list[str]:
    """The ``most`` most frequent characters after normalisation, without the rarest; sorted."""
    raw: Counter[str] = Counter()
    for block in texts:
        raw.update("".join(block))
    counts: Counter[str] = Counter()
    for character, count in raw.items():
        for normalised in normalizer.normalize_str(character):
            if not normalised.isspace():
                counts[normalised] += count
    frequent = [character for character, count in counts.items() if count > _RARE * counts.total()]
    return sorted(sorted(frequent, key=lambda character: (-counts[character], character))[:most])


def _texts(store: CorpusStore, training_queries: list[str]) -> Iterator[list[str]]:
    for batch in store.iter_batches(0, len(store), _BLOCK):
        yield batch.titles
        yield batch.texts
    yield training_queries
