"""A small real vocabulary, made on the spot."""

from __future__ import annotations

from typing import Any


def word_tokenizer() -> Any:
    """A WordPiece tokenizer over a handful of words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = "swap two columns invert a matrix of numbers and the numpy - : row sort list find join split read write"
    pieces = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + list("bcdefghijklmnopqrstuvwxyz0123456789") + [f"##{digit}" for digit in range(10)]
    vocabulary = {token: i for i, token in enumerate(special + words.split() + pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return BertTokenizerFast(tokenizer_object=backend)
