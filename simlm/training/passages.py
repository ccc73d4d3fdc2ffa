"""The corpus as token ids: tokenized once, memory-mapped, shared by all pre-training stages of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from simlm.errors import UserError
from simlm.files import atomic_folder, read_manifest, sha256_text, write_json
from simlm.models.text import BLOCK, Tokens, tokenize_passages
from simlm.progress import progress

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore


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


def tokenize_corpus(store: CorpusStore, tokenizer, max_length: int, folder: Path) -> Tokens:
    """Tokenize every (title, passage) once, in bounded memory; the ids are memory-mapped from ``folder``.

    A result of the same corpus, tokenizer and length that is already there is reused.
    """
    key = sha256_text(f"{store.sha256} {tokenizer.backend_tokenizer.to_str()} {max_length}")[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # two trainings may start at once
        found = _open(folder, key)
        if found is None:
            _write(store, tokenizer, max_length, folder, key)
            found = _open(folder, key)
    if found is None:
        raise UserError(f"{folder} cannot be read back; look at that disk and run the command again")
    return found


def _open(folder: Path, key: str) -> Tokens | None:
    """Map what :func:`_write` wrote; None if it is not there, of another key, or damaged, so that it is made again."""
    try:
        manifest = read_manifest(folder / "manifest.json", "the manifest of a tokenized corpus", "simlm train", {"key": str, "tokens": int})
        if manifest["key"] != key or (folder / "ids.bin").stat().st_size != 4 * manifest["tokens"]:
            return None
        ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r", shape=(manifest["tokens"],))
        return Tokens(ids, np.load(folder / "offsets.npy"), np.load(folder / "second.npy"))
    except (UserError, OSError, ValueError):
        return None


def _write(store: CorpusStore, tokenizer, max_length: int, folder: Path, key: str) -> None:
    count = len(store)
    lengths, second = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int32)
    with atomic_folder(folder) as temporary:
        with open(temporary / "ids.bin", "wb") as stream:
            for start in progress(range(0, count, BLOCK), -(-count // BLOCK), "Tokenizing passages", unit="blocks"):
                part = tokenize_passages(tokenizer, *store.texts(range(start, min(count, start + BLOCK))), max_length)
                lengths[start : start + len(part)], second[start : start + len(part)] = part.lengths, part.second
                stream.write(np.ascontiguousarray(part.ids, np.int32).data)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        np.save(temporary / "offsets.npy", offsets)
        np.save(temporary / "second.npy", second)
        write_json(temporary / "manifest.json", {"key": key, "passages": count, "tokens": int(offsets[-1]), "max_length": max_length})
