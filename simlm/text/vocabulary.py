"""What masking needs to know of a vocabulary: where words begin, in the way of each family of tokenizers."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from simlm.errors import UserError
from simlm.lexical.scripts import UNBORDERED

_UNBORDERED = re.compile(f"[{UNBORDERED}]")


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know about a tokenizer, per token id.

    Attributes
    ----------
    continues
        Whether a token goes on with the word before it.
    ends
        Whether a word ends behind a token, whatever follows.
    special
        Whether a token is none of the text's own; an unknown word is a word.
    """

    size: int
    pad: int
    mask: int
    continues: np.ndarray
    ends: np.ndarray
    special: np.ndarray

    @classmethod
    def of(cls, tokenizer) -> Vocabulary:
        """Read it from a tokenizer.

        WordPiece marks what goes on with a word (``##``); BPE over bytes (``Ġ``) and SentencePiece (``▁``) mark what begins one, and
        leave punctuation and scripts without borders unmarked, so that those are cut here as WordPiece does; BPE with ``</w>`` marks ends.

        Raises
        ------
        UserError
            If the tokenizer lacks a mask token, or says nowhere in which of these ways it marks words.
        """
        if tokenizer.mask_token_id is None:
            raise UserError("the tokenizer has no token for masked words ([MASK]), without which nothing can be masked; take that of a masked language model")
        words = tokenizer.get_vocab()
        size = max(len(tokenizer), max(words.values()) + 1)
        added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.content in words}
        continues, ends, special = (np.zeros(size, dtype=bool) for _ in range(3))
        way = _way(tokenizer)
        for token, index in words.items():
            continues[index], ends[index] = (False, True) if index in added and way is not _marked_pieces else way(token)
        special[list(tokenizer.all_special_ids)] = True
        unknown = tokenizer.unk_token_id
        if unknown is not None:
            special[unknown] = False  # an unknown word is a word
        return cls(size, tokenizer.pad_token_id, tokenizer.mask_token_id, continues, ends, special)


def _way(tokenizer):
    """The function that says of a token whether it continues a word, and whether it ends one."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    model, parts = described["model"], _types(described)
    if model["type"] in ("WordPiece", "WordLevel"):
        if model.get("continuing_subword_prefix", "##") != "##":
            raise UserError(f"the tokenizer marks pieces of words by '{model['continuing_subword_prefix']}', which is not known here; BERT's mark is ##")
        return _marked_pieces
    if model.get("end_of_word_suffix"):
        return lambda token: (True, token.endswith(model["end_of_word_suffix"]))
    if "ByteLevel" in parts:
        return _bytes
    if "Metaspace" in parts:
        return _sentence_pieces
    raise UserError(
        f"the tokenizer ({model['type']}) does not say where words begin: it has neither ## of WordPiece, nor Ġ of BPE over bytes, nor ▁ of SentencePiece; "
        "whole-word masking needs one of them"
    )


def _types(described: dict) -> set[str]:
    """Types of all normalizers, pre-tokenizers and decoders."""
    found, waiting = set(), [described.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found.add(part.get("type"))
            waiting += [value for values in part.values() if isinstance(values, list) for value in values]
    return found


def _marked_pieces(token: str) -> tuple[bool, bool]:
    """WordPiece cuts punctuation and Han before it looks for pieces, so that the mark is all.

    >>> _marked_pieces("##ing"), _marked_pieces("play")
    ((True, False), (False, False))
    """
    return token.startswith("##"), False


def _sentence_pieces(token: str) -> tuple[bool, bool]:
    """SentencePiece.

    >>> _sentence_pieces("▁play"), _sentence_pieces("ing"), _sentence_pieces("."), _sentence_pieces("京都"), _sentence_pieces("▁")
    ((False, False), (True, False), (False, True), (False, True), (False, False))
    """
    if token.startswith("▁"):
        return False, not (len(token) == 1 or _is_inside(token[-1]))
    return _is_inside(token[:1]), not _is_inside(token[-1:])


def _bytes(token: str) -> tuple[bool, bool]:
    """BPE over bytes, whose tokens may hold parts of a character.

    >>> _bytes("Ġplay"), _bytes("ing"), _bytes("."), _bytes("äº¬"), _bytes("ĠÃ"), _bytes("©t")
    ((False, False), (True, False), (False, True), (False, True), (False, False), (True, False))
    """
    raw = bytes(_BYTE_OF.get(letter, 0x20) for letter in token)
    if 0x80 <= raw[0] < 0xC0:  # the rest of a character that began in the token before
        return True, _ends(raw)
    text = raw.decode("utf-8", errors="ignore")
    if raw[:1].isspace():
        return False, len(text) > 1 and _ends(raw)
    # A lead byte alone tells the script roughly: from 0xE3 on they are kana, Han, Hangul and emoji.
    return (_is_inside(text[0]) if text else raw[0] < 0xE3), _ends(raw)


def _ends(raw: bytes) -> bool:
    """Whether a word ends behind these bytes; not where the last character is incomplete."""
    try:
        last = raw.lstrip(bytes(range(0x80, 0xC0))).decode("utf-8")[-1:]
    except UnicodeDecodeError:
        return False
    return bool(last) and not _is_inside(last)


def _is_inside(letter: str) -> bool:
    """Whether a character stands inside of words: letters, marks and digits, but not those of scripts that write words without borders."""
    return bool(letter) and unicodedata.category(letter)[0] in "LMN" and not _UNBORDERED.match(letter)


def _bytes_of_letters() -> dict[str, int]:
    """The letters that stand for bytes in a vocabulary over bytes (GPT-2's): printable ones for themselves, others for those from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _bytes_of_letters()
