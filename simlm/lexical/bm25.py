"""Lucene's BM25 over title and text, on bm25s: every (term, passage) score is computed when the index is built.

    score(q, d) = sum over the terms t of q of  idf(t) · tf / (tf + k1 · (1 - b + b · |d| / avgdl)),
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

as Lucene has it since version 8: the factor (k1 + 1) of the textbook formula, which is the same for every term and
changes no order, is left out (Kamphuis et al., ECIR 2020). Lengths are exact, not rounded to a byte as in Lucene.
A term that the query repeats counts as often as it is repeated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from simlm.digests import describe, described
from simlm.errors import UserError
from simlm.files import atomic_folder, read_manifest, write_json
from simlm.lexical.analyzers import ANALYZERS, Analyzer
from simlm.lexical.postings import Postings

if TYPE_CHECKING:
    import bm25s

    from simlm.corpus.store import CorpusStore

MANIFEST = "manifest.json"
MADE_BY = "simlm index-bm25"


class Bm25Index:
    """A searchable index; rows of the corpus are its passage ids.

    Attributes
    ----------
    analyzer
        Turns queries into terms.
    manifest
        What was written beside the index; empty for one that was just built.
    """

    def __init__(self, engine: bm25s.BM25, analyzer: Analyzer, manifest: dict[str, Any] | None = None) -> None:
        self.engine, self.analyzer, self.manifest = engine, analyzer, manifest or {}
        self._term_ids: dict[str, int] = engine.vocab_dict
        # Plain views of the memory maps: slicing np.memmap itself is several times slower.
        scores, rows, starts = (np.asarray(engine.scores[name]) for name in ("data", "indices", "indptr"))
        self._postings = Postings(scores, rows, starts, len(self))

    def __len__(self) -> int:
        """Number of passages."""
        return int(self.engine.scores["num_docs"])

    @classmethod
    def build(cls, documents: Iterable[str], analyzer: str, k1: float = 0.82, b: float = 0.68) -> Bm25Index:
        """Index documents, whose rows are their places.

        The terms pass through a temporary file: memory holds the postings (8 bytes each, 20 while they are sorted), not the texts.

        Raises
        ------
        UserError
            If no document has a term.
        """
        import bm25s

        analyse = Analyzer(analyzer)
        engine = bm25s.BM25(k1=k1, b=b, method="lucene", csc_backend="scipy")
        with tempfile.TemporaryFile() as file:
            lists = _TermLists(file)
            term_ids = lists.fill(analyse, documents)
            if not term_ids:
                raise UserError(f"the analyzer '{analyzer}' found no term in any passage; look at the corpus, or choose another analyzer")
            engine.index(SimpleNamespace(ids=lists, vocab=term_ids), create_empty_token=False, show_progress=False)
        return cls(engine, analyse)

    def save(self, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the index and then ``manifest.json`` (``facts``, and the files' sizes and digests), atomically; returns the manifest."""
        import bm25s

        with atomic_folder(folder) as temporary:
            self.engine.save(temporary, show_progress=False)
            files = describe(temporary)
            shape = {"passages": len(self), "terms": len(self._term_ids), "postings": len(self._postings)}
            settings = {"analyzer": self.analyzer.name, "method": "lucene", "k1": self.engine.k1, "b": self.engine.b, "bm25s": bm25s.__version__}
            self.manifest = {**facts, **settings, **shape, "files": files}
            write_json(temporary / MANIFEST, self.manifest)
        return self.manifest

    @classmethod
    def load(cls, folder: str | Path, corpus_sha256: str | None = None) -> Bm25Index:
        """Open an index; its postings stay on disk and are mapped into memory.

        Raises
        ------
        UserError
            If it is absent, truncated, or (where ``corpus_sha256`` is given) was made from another corpus.
        """
        folder = Path(folder)
        manifest = read_manifest(folder / MANIFEST, "the manifest of a BM25 index", MADE_BY, {"analyzer": str, "files": dict})
        if manifest["analyzer"] not in ANALYZERS:
            raise UserError(f"{folder / MANIFEST} names the analyzer '{manifest['analyzer']}', which does not exist; delete {folder} and run {MADE_BY} again")
        for file, about in described(folder, manifest).items():
            found = file.stat().st_size if file.exists() else 0
            if found != about["bytes"]:
                raise UserError(f"{file} is truncated ({found:,} of {about['bytes']:,} bytes); delete {folder} and run {MADE_BY} again")
        if corpus_sha256 is not None and manifest.get("corpus_sha256") != corpus_sha256:
            raise UserError(f"{folder} was made from another corpus; run {MADE_BY} again")
        import bm25s

        try:
            engine = bm25s.BM25.load(folder, mmap=True)
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{folder} is damaged ({error}); delete it and run {MADE_BY} again") from None
        return cls(engine, Analyzer(manifest["analyzer"]), manifest)

    def search(self, queries: list[str], k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Best passages of each query by ``(-score, row)``.

        Returns
        -------
        tuple of arrays
            Rows (int32) and scores (float32), both of shape (queries, k). Passages without any term of the query are
            never returned: where fewer than ``k`` remain, rows are -1 and scores -inf.
        """
        rows = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for i, (passages, values) in enumerate(self.rank(queries, k, threads)):
            rows[i, : len(passages)], scores[i, : len(passages)] = passages, values
        return rows, scores

    def rank(self, queries: Iterable[str], k: int, threads: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Stream rows and scores of each query's best passages, at most ``k``; the same for any number of threads."""
        from simlm.lexical.parallel import ordered_map

        yield from ordered_map(lambda query, totals: self._postings.best(self._terms(query), k, totals), queries, threads, self._postings.space)

    def score(self, query: str, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Scores of some passages, whether or not they would be found, and the best score of the whole corpus.

        Returns
        -------
        tuple
            float32, shape of ``rows``; and a float, 0 if no passage has a term of the query.
        """
        totals = self._postings.sums(self._terms(query))
        return totals[rows], float(totals.max(initial=0.0))

    def postings(self, query: str) -> int:
        """Number of (term, passage) pairs that the terms of a query have: what answering it may have to read."""
        return sum(map(self._postings.length, self._terms(query)))

    def _terms(self, query: str) -> list[int]:
        """Known terms of a query, each as often as it occurs."""
        return [self._term_ids[term] for term in self.analyzer(query) if term in self._term_ids]


def passages_of(store: CorpusStore, titles: bool = True) -> Iterator[str]:
    """Title (unless ``titles`` is false) and text of every passage, as they are indexed."""
    for batch in store.iter_batches(size=2000):
        for title, text in zip(batch.titles, batch.texts):
            yield f"{title} {text}" if title and titles else text


class _TermLists:
    """Lists of term ids that lie in a file; iterating reads them in blocks."""

    BLOCK = 4096

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._starts = file, np.zeros(1, np.int64)

    def fill(self, analyse: Analyzer, documents: Iterable[str]) -> dict[str, int]:
        """Analyse documents into the file; term ids are given in order of first occurrence."""
        term_ids: dict[str, int] = {}
        starts = [np.zeros(1, np.int64)]
        for block in _blocks(documents, self.BLOCK):
            lists = [[term_ids.setdefault(term, len(term_ids)) for term in analyse(document)] for document in block]
            # Not `tofile`, which says nothing when the disk is full.
            self._file.write(np.fromiter((term for terms in lists for term in terms), np.int32).data)
            starts.append(np.cumsum([len(terms) for terms in lists], dtype=np.int64) + starts[-1][-1])
        self._file.flush()
        self._starts = np.concatenate(starts)
        return term_ids

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[list[int]]:
        self._file.seek(0)
        for first in range(0, len(self), self.BLOCK):
            starts = self._starts[first : first + self.BLOCK + 1]
            terms = np.fromfile(self._file, np.int32, int(starts[-1] - starts[0])).tolist()
            borders = (starts - starts[0]).tolist()
            yield from (terms[start:end] for start, end in pairwise(borders))


def _blocks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
