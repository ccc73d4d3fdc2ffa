"""The experiment's vocabulary: a WordPiece tokenizer trained on the corpus, or a published one."""

from __future__ import annotations

from collections.abc import Iterator

from simlm.config.experiment import Tokenizer
from simlm.corpus.store import CorpusStore

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_BLOCK = 4096


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
    from tokenizers.decoders import WordPiece as WordPieceDecoder
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
    engine.decoder = WordPieceDecoder()
    trainer = WordPieceTrainer(vocab_size=settings.vocabulary, special_tokens=list(SPECIAL.values()), min_frequency=2, show_progress=False)
    engine.train_from_iterator(_texts(store, training_queries), trainer)
    cls, sep = (SPECIAL[name] for name in ("cls_token", "sep_token"))
    ids = {token: engine.token_to_id(token) for token in (cls, sep)}
    engine.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0", pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(tokenizer_object=engine, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **SPECIAL)


def _texts(store: CorpusStore, training_queries: list[str]) -> Iterator[list[str]]:
    for batch in store.iter_batches(0, len(store), _BLOCK):
        yield batch.titles
        yield batch.texts
    yield training_queries
