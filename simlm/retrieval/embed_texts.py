"""Vectors of texts that belong to no experiment: a file of passages or queries, read in blocks and written as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.corpus.records import clean_id, clean_text
from simlm.corpus.texts import passages_in, queries_in
from simlm.errors import UserError
from simlm.progress import progress
from simlm.retrieval.encode import BLOCK
from simlm.text.token_cache import tokenizer_digest
from simlm.vectors.parquet import write_parquet
from simlm.vectors.vectors import Vectors
from simlm.vectors.written import distinct, write_folder, write_npy

if TYPE_CHECKING:
    from simlm.retrieval.encoder import TextEncoder


def embed_file(encoder: TextEncoder, file: Path, side: str, output: Path, dtype: str = "fp32") -> int:
    """Embed the texts of a file and write their vectors and ids, in the order of the file; returns their number.

    Texts are embedded in blocks of :data:`~simlm.retrieval.encode.BLOCK`, as the corpus is: the passages of a corpus get the same bits here and there.

    Parameters
    ----------
    side
        ``passage`` or ``query``.
    output
        ``.npy`` (ids beside it in ``.ids.txt``), ``.parquet`` (always fp32), or a folder that :class:`~simlm.vectors.shards.Shards` opens.

    Raises
    ------
    UserError
        At the first text that cannot be read, with its place; nothing is left then.
    """
    read = _Texts(encoder, file, side)
    blocks = distinct(progress(read.blocks(), None, f"Embedding {'passages' if side == 'passage' else 'queries'}", unit="blocks"))
    if output.suffix == ".parquet":
        return write_parquet(output, blocks, side)
    if output.suffix == ".npy":
        return write_npy(output, blocks, encoder.dimension, dtype, encoder.ragged)
    if output.suffix:
        raise UserError(f"{output}: vectors are written to a .npy file, a .parquet file, or a folder, whose name has no ending")
    return write_folder(output, blocks, encoder.dimension, dtype, encoder.ragged, read.about)


class _Texts:
    """The texts of a file on their way to vectors."""

    def __init__(self, encoder: TextEncoder, file: Path, side: str) -> None:
        self.encoder, self.side, self.digest = encoder, side, hashlib.sha256()
        self.records = passages_in(file) if side == "passage" else queries_in(file)

    def blocks(self) -> Iterator[tuple[list[str], Vectors]]:
        for block in _batched(self._cleaned(), BLOCK):
            ids, *texts = map(list, zip(*block))
            yield ids, Vectors.of(self.encoder.passages(*texts) if self.side == "passage" else self.encoder.queries(*texts))

    def _cleaned(self) -> Iterator[tuple[str, ...]]:
        where, names = self.records.where, ("title", "text") if self.side == "passage" else ("query",)
        for n, (one, *texts) in enumerate(self.records, 1):
            cleaned = (clean_id(one, where, n, self.side), *(clean_text(text, where, n, name).strip() for name, text in zip(names, texts)))
            if self.side == "query" and not cleaned[1]:
                raise UserError(f"{where(n)}: the query is empty; remove it or write what it asks")
            self.digest.update("".join(f"{len(part)} {part}\n" for part in cleaned).encode())
            yield cleaned

    def about(self) -> dict[str, Any]:
        """What the vectors depend on."""
        encoder = self.encoder
        return {
            "side": self.side,
            "model_sha256": encoder.sha256,
            "tokenizer_sha256": tokenizer_digest(encoder.tokenizer),
            "corpus_sha256": self.digest.hexdigest(),
            f"{self.side}_length": encoder.lengths[self.side],
            "batch_size": encoder.batch_size,
            "block": BLOCK,
            "precision": encoder.precision.name,
            "device": encoder.device.type,
        }


def _batched(items: Iterable[tuple[str, ...]], size: int) -> Iterator[list[tuple[str, ...]]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
