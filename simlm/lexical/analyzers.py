"""Analyzers: how text becomes the terms that BM25 counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from simlm.config.kinds.bm25 import ANALYZERS, LANGUAGES
from simlm.lexical.scripts import bigrams, normalised, tokens

KNOWN_WORDS = 1_000_000
"""Distinct words remembered at most; then the memory starts anew."""

_WORD = re.compile(r"\w+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Borders inside camelCase names: ``camel|Case``, ``HTML|Parser``."""


class Analyzer:
    """Turns text into terms; the same word always gives the same terms, so each distinct word is analysed once.

    Parameters
    ----------
    name
        ``words``: lower-case ``\\w+`` tokens. ``stemmed``: also drops Lucene's English stop words and applies the
        Snowball English stemmer. ``split_names``: a name such as ``read_csv`` or ``DataFrame`` (dots always cut) gives
        its parts and the whole name. ``split_names_stemmed``: both. The name of a language (``german``): its Snowball
        stemmer, and its stop words where bm25s has them.

    Whatever the analyzer, marks stay with their letters, composed and decomposed letters are one, and scripts without
    borders between words give pairs of neighbouring letters, as Lucene's StandardTokenizer and CJKAnalyzer do.

    >>> Analyzer("words")("Reads the CSV with pandas.read_csv")
    ['reads', 'the', 'csv', 'with', 'pandas', 'read_csv']
    >>> Analyzer("stemmed")("Reads the CSV with pandas.read_csv")
    ['read', 'csv', 'panda', 'read_csv']
    >>> Analyzer("split_names")("HTMLParser.read_csv")
    ['html', 'parser', 'htmlparser', 'read', 'csv', 'read_csv']
    >>> Analyzer("german")("Die Häuser der Stadt"), Analyzer("words")("हिन्दी, iPhone手机很好")
    (['haus', 'stadt'], ['हिन्दी', 'iphone', '手机', '机很', '很好'])
    """

    def __init__(self, name: str) -> None:
        if name not in ANALYZERS:
            raise ValueError(f"no analyzer is called {name}")
        self.name = name
        self._split = name.startswith("split_names")
        self._stem: Callable[[str], str] | None = None
        self._stop: frozenset[str] = frozenset()
        if name.endswith("stemmed") or name in LANGUAGES:
            import Stemmer
            from bm25s import stopwords

            language = name if name in LANGUAGES else "english"
            self._stem = Stemmer.Stemmer(language, 0).stemWord
            known = {"english": "EN"}.get(language, language.upper())
            self._stop = frozenset(normalised(word.lower()) for word in getattr(stopwords, f"STOPWORDS_{known}", ()))
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, text: str) -> list[str]:
        """Terms of ``text``, in order, with repetitions."""
        if not self._split:
            text = self._lower(text)
        known, terms = self._known, []
        if len(known) > KNOWN_WORDS:
            known.clear()
        for word in _WORD.findall(text) if text.isascii() else self._pieces(normalised(text), terms):
            found = known.get(word)
            if found is None:
                found = known[word] = self._analyse(word)
            terms += found
        return terms

    def _lower(self, text: str) -> str:
        if self.name == "turkish":
            text = text.replace("I", "ı")
        # Python lower-cases İ to an i with a dot above, which is an i.
        return text.replace("İ", "i").lower()

    def _pieces(self, text: str, terms: list[str]) -> Iterator[str]:
        """Words of a text; the pairs of what has no borders go to ``terms`` at once, because such runs hardly ever come again."""
        for found in tokens().finditer(text):
            if found[1]:
                terms += bigrams(found[1])
            else:
                yield found[0]

    def _analyse(self, word: str) -> tuple[str, ...]:
        parts = name_parts(word) if self._split else [word]
        words = [self._lower(part) for part in parts]
        if len(words) > 1:
            words.append(self._lower(word))
        words = [word for word in words if word not in self._stop]
        return tuple(map(self._stem, words)) if self._stem else tuple(words)


def name_parts(name: str) -> list[str]:
    """Cut a name at underscores and case changes.

    >>> name_parts("swap_columns"), name_parts("BatchNorm2d"), name_parts("__init__"), name_parts("_")
    (['swap', 'columns'], ['Batch', 'Norm2d'], ['init'], ['_'])
    """
    return [part for piece in name.split("_") for part in _HUMP.split(piece) if part] or [name]
