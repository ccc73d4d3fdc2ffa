"""What masking needs to know of a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simlm.errors import UserError


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know about a tokenizer, per token id."""

    size: int
    pad: int
    mask: int
    continues: np.ndarray
    special: np.ndarray

    @classmethod
    def of(cls, tokenizer) -> Vocabulary:
        """Read it from a WordPiece tokenizer.

        Raises
        ------
        UserError
            If the tokenizer lacks a mask token or ``##`` pieces, which whole-word masking needs.
        """
        size = len(tokenizer)
        continues = np.zeros(size, dtype=bool)
        for token, index in tokenizer.get_vocab().items():
            continues[index] = token.startswith("##")
        if tokenizer.mask_token_id is None or not continues.any():
            raise UserError("the tokenizer has no [MASK] token or no ## pieces; whole-word masking needs a WordPiece vocabulary such as BERT's")
        special = np.zeros(size, dtype=bool)
        special[list(tokenizer.all_special_ids)] = True
        unknown = tokenizer.unk_token_id
        if unknown is not None:
            special[unknown] = False  # an unknown word is a word
        return cls(size, tokenizer.pad_token_id, tokenizer.mask_token_id, continues, special)
