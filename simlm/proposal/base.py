"""What an experiment starts from: nothing, a pre-trained encoder, or a retriever that is finished; and how large it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simlm.config.feasible import finished_retriever
from simlm.config.local_models import positions_in
from simlm.config.remote import is_hub_id
from simlm.errors import UserError
from simlm.lexical.scripts import UNBORDERED
from simlm.planning.shapes import Shape, outside

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Start = Literal["scratch", "encoder", "retriever"]


@dataclass(frozen=True)
class Base:
    """A start.

    Attributes
    ----------
    reference
        What the configuration names, or None.
    positions
        Most tokens of an input.
    longest
        Most tokens that it was made for, where it says so.
    pooling
        How it makes a vector, in words, where it says so.
    head
        Whether it has a head for masked words.
    tokens
        Counts the tokens of a text.
    foreign
        Whether the vocabulary lacks a word, or has it letter by letter alone.
    """

    start: Start
    reference: str | None
    shape: Shape | None
    positions: int
    longest: int | None
    pooling: str | None
    head: bool
    tokens: Callable[[str], int]
    foreign: Callable[[str], bool] = lambda word: False

    @property
    def millions(self) -> float:
        return self.shape.parameters() / 1e6 if self.shape else 0.0


_UNBORDERED = re.compile(f"[{UNBORDERED}]")
UNKNOWN = ("[UNK]", "<unk>")
"""What a vocabulary has for a word that it lacks."""
SCRATCH_TOKENS = 1.6
"""Tokens per word of a vocabulary of a few thousand, which is trained on the corpus."""


def scratch() -> Base:
    """No start: base and generator are trained as well."""
    return Base("scratch", None, None, 128, None, None, False, lambda text: _by_words(text, SCRATCH_TOKENS))


def look(reference: str) -> Base:
    """Look at a local folder or a Hugging Face id (which is fetched if it is not there yet); no weights are loaded.

    Raises
    ------
    UserError
        If it is neither, or no model.
    """
    folder = _folder(reference)
    if not (folder / "config.json").is_file() and not finished_retriever(str(folder)):
        raise UserError(f"--base: {reference} holds no model (config.json is missing); give a folder with an encoder, or a Hugging Face id")
    pooling, longest, transformer = None, None, folder
    finished = finished_retriever(str(folder))
    if finished and (folder / "simlm.json").is_file():
        said = json.loads((folder / "simlm.json").read_text(encoding="utf-8"))
        pooling, longest = _words(said.get("pooling", "cls")), said.get("lengths", {}).get("passage")
    elif finished:
        from simlm.models.described import read_described

        described = read_described(folder)
        pooling, longest, transformer = _words(list(described.reading.pooling)), described.max_length, described.transformer
    tokenizer = _tokenizer(transformer)
    return Base(
        "retriever" if finished else "encoder",
        reference,
        outside(str(transformer)).shape,
        positions_in(str(transformer)) or 512,
        longest,
        pooling,
        _has_head(transformer),
        lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids) if tokenizer else _by_words(text, 1.35),
        lambda word: tokenizer is not None and is_foreign(tokenizer, word),
    )


def _folder(reference: str) -> Path:
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    if is_hub_id(reference):
        from simlm.hub import fetch

        return fetch(reference, "model")
    raise UserError(f"--base: there is no folder {reference}; give a folder with an encoder, or a Hugging Face id (owner/name)")


def _words(pooling: Any) -> str:
    return " and ".join(pooling) if isinstance(pooling, list | tuple) else str(pooling)


def _tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of the folder; None where it has no fast one."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def is_foreign(tokenizer: Tokenizer, word: str) -> bool:
    """Whether a vocabulary lacks a word, or has it letter by letter (or byte by byte) alone; where words have no borders, letters are words."""
    pieces = tokenizer.encode(word, add_special_tokens=False)
    unknown = {tokenizer.token_to_id(name) for name in UNKNOWN} - {None}
    return bool(unknown & set(pieces.ids)) or (len(pieces.ids) >= len(word) > 2 and not _UNBORDERED.search(word))


def _by_words(text: str, per_word: float) -> int:
    """Tokens by the number of words; where words have no borders a letter is a token.

    >>> _by_words("bread and butter", 1.6), _by_words("\u4fe1\u606f\u68c0\u7d22", 1.6)
    (5, 4)
    """
    bordered, letters = _UNBORDERED.subn(" ", text)
    return letters + round(per_word * len(bordered.split()))


def _has_head(folder: Path) -> bool:
    """Whether the weights hold a head for masked words, by their names."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as weights:
            if any(part in name for name in weights.keys() for part in ("predictions", "lm_head", "vocab_transform")):  # noqa: SIM118 (no mapping)
                return True
    return False
