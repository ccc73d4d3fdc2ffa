"""What the tokenizer itself makes of (query, passage) pairs, for comparison with pairs that are joined from tokens."""

from __future__ import annotations

from simlm.models.text import Tokens, titled_texts


def pair_tokens(tokenizer, queries, titles, texts, length: int, untitled: str = "text") -> Tokens:
    """Tokens of (query, "title: text"), the longer side cut first."""
    pairs = tokenizer(list(queries), titled_texts(titles, texts, untitled), truncation=True, max_length=length, return_token_type_ids=True)
    return Tokens.from_lists(pairs["input_ids"], pairs["token_type_ids"])
