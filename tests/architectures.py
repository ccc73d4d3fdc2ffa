"""Tiny checkpoints with random weights of the architectures that published encoders have, written by transformers itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

WORDS = ["swap", "two", "columns", "of", "numbers", "matrix", "invert", "sort", "list", "find", "row", "-", "a", "0", "100", ":"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT, ROBERTA = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PLAIN = {"max_position_embeddings": 64, **SIZE}
OFFSET = {"max_position_embeddings": 66, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1, **SIZE}
SPECIAL = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("bert", PLAIN),
    "Roberta": ("roberta", OFFSET),
    "XLMRoberta": ("roberta", OFFSET),
    "Camembert": ("roberta", OFFSET),
    "Data2VecText": ("roberta", OFFSET),
    "XLMRobertaXL": ("roberta", OFFSET),
    "RobertaPreLayerNorm": ("roberta", OFFSET),
    "Xmod": ("roberta", {**OFFSET, "languages": ["en_XX"], "default_language": "en_XX"}),
    "MPNet": ("roberta", {key: value for key, value in OFFSET.items() if key != "type_vocab_size"}),
    "DistilBert": ("bert", {"max_position_embeddings": 64, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
    "Electra": ("bert", {**PLAIN, "embedding_size": 16}),
    "ModernBert": ("bert", {**PLAIN, **SPECIAL}),
    "NomicBert": ("bert", PLAIN),
    "Albert": ("bert", {**PLAIN, "embedding_size": 16}),
    "DebertaV2": ("bert", {**PLAIN, "type_vocab_size": 0}),
}
"""transformers' name → tokenizer and configuration; all read at most 64 tokens."""


def tokenizer(kind: str, template: bool = True) -> Any:
    """A tokenizer of whole words with BERT's or RoBERTa's special tokens; ``template`` False: it adds none of them, as a lost post-processor does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = BERT if kind == "bert" else ROBERTA
    pad, unknown, first, last, mask = BERT if kind == "bert" else (special[1], special[3], special[0], special[2], special[4])
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, "##s"])}
    engine = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    engine.normalizer, engine.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    pair = f"{first} $A {last} $B:1 {last}:1" if kind == "bert" else f"{first} $A {last} {last} $B {last}"
    if template:
        ids = [(token, vocabulary[token]) for token in (first, last)]
        engine.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", pair=pair, special_tokens=ids)
    names = {"pad_token": pad, "unk_token": unknown, "cls_token": first, "sep_token": last, "mask_token": mask}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=engine, **names)


def save(folder: Path, name: str, head: str = "Model", change: Callable[[Any], None] | None = None, **options: Any) -> Path:
    """Write a checkpoint of an architecture (``head``: ``Model``, ``ForMaskedLM``, ``ForSequenceClassification``) and its tokenizer.

    The tokenizer claims token types and no limit of length, as many published ones do.
    """
    kind, settings = ARCHITECTURES[name]
    torch.manual_seed(0)
    own = tokenizer(kind)
    config = getattr(transformers, f"{name}Config")(vocab_size=len(own), **settings)
    if change is not None:
        change(config)
    getattr(transformers, f"{name}{head}")(config).save_pretrained(folder, **options)
    own.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    own.save_pretrained(folder)
    return folder


def subword_tokenizer(family: str, texts: list[str], vocabulary: int = 400) -> Any:
    """A tokenizer trained on ``texts`` in the layout of a family: ``wordpiece`` (BERT), ``bytes`` (RoBERTa, ModernBERT), ``pieces`` (XLM-R)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = BERT if family == "wordpiece" else ROBERTA
    pad, unknown, first, last, mask = BERT if family == "wordpiece" else (special[1], special[3], special[0], special[2], special[4])
    if family == "wordpiece":
        engine, trainer = Tokenizer(models.WordPiece(unk_token=unknown)), trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special)
        engine.normalizer, engine.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    elif family == "bytes":
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        engine = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet)
        engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    else:
        engine, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(vocab_size=vocabulary, special_tokens=special, unk_token=unknown)
        engine.pre_tokenizer, engine.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    engine.train_from_iterator(texts, trainer)
    pair = f"{first} $A {last} $B:1 {last}:1" if family == "wordpiece" else f"{first} $A {last} {last} $B {last}"
    ids = [(token, engine.token_to_id(token)) for token in (first, last)]
    engine.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", pair=pair, special_tokens=ids)
    names = {"pad_token": pad, "unk_token": unknown, "cls_token": first, "sep_token": last, "mask_token": mask}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=engine, **names)
