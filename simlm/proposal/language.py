"""What a text is written in: the language, by its commonest words or its script, and whether it is code."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

COMMON = {
    "english": "the of and to in is for that with on are as be this by from or an at it",
    "german": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als",
    "french": "de la le et les des en un du une que est pour qui dans sur par au pas plus",
    "spanish": "de la que el en y los se del las un por con una su para es al lo como",
    "italian": "di e il la che in un per è una sono con non del da si come le dei nel",
    "portuguese": "de a o que e do da em um para com não uma os no se na por mais as",
    "dutch": "de van het een en in is dat op te zijn met voor niet aan er om ook als bij",
    "swedish": "och i att det som en på är av för med den till inte har de ett om var jag",
    "danish": "og i at det er en til på som på de med den af ikke der jeg et har om for",
    "norwegian": "og i det er på som en til av at for med de den har ikke om et jeg var",
    "finnish": "ja on ei että se oli hän ovat mutta kun niin myös tai joka sen kuin ole mukaan jos",
    "russian": "и в не на что с по это как из к у за от он для но его же так",
    "turkish": "ve bir bu da de için ile olarak çok daha olan gibi en kadar ne var ancak sonra ise",
    "polish": "w i na z się do nie to że jest o jak od po za przez dla ale oraz są",
    "indonesian": "yang dan di dari untuk dengan ini pada dalam adalah tidak itu oleh juga akan ke sebagai",
}
"""The commonest words of languages that an analyzer exists for."""

SCRIPTS = {
    "ARABIC": "arabic", "ARMENIAN": "armenian", "GREEK": "greek", "DEVANAGARI": "hindi", "TAMIL": "tamil",
    "CJK": "", "HIRAGANA": "", "KATAKANA": "", "HANGUL": "", "THAI": "", "HEBREW": "", "BENGALI": "", "LAO": "", "KHMER": "", "MYANMAR": "",
}  # fmt: skip
"""Script of a letter, as Unicode names it → the analyzer of the language that is mostly written so; empty where there is none."""

CERTAIN = 0.12
"""Share of the words that must be common ones of a language."""

NAMES = 0.05
"""Share of the words that are names of a program, from which a text is code."""

_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"\b(?:[A-Za-z]\w*_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|\w+\(\)?)|[{};]|==|=>|->")


def language_of(texts: Sequence[str]) -> str | None:
    """Name of the language, as ``bm25.analyzers`` has it (``english`` included); empty for a script that has no stems; None: not known.

    >>> language_of(["The quick brown fox jumps over the dog and is gone in a minute"])
    'english'
    >>> language_of(["Der Hund und die Katze sind nicht im Haus, das mit dem roten Dach ist"]), language_of(["信息检索 很好"])
    ('german', '')
    """
    words = Counter(word.lower() for text in texts for word in _WORD.findall(text))
    total = sum(words.values())
    if not total:
        return None
    shares = {name: sum(words[word] for word in set(common.split())) / total for name, common in COMMON.items()}
    best = max(shares, key=shares.__getitem__)
    if shares[best] >= CERTAIN:
        return best
    letters = Counter(unicodedata.name(letter, "?").split()[0] for text in texts for letter in text if letter.isalpha())
    script, count = letters.most_common(1)[0]
    return SCRIPTS.get(script) if count > sum(letters.values()) / 2 else None


def is_code(texts: Iterable[str]) -> bool:
    """Whether names of programs (``read_csv``, ``DataFrame``, ``open()``) and their signs are common in the texts.

    >>> is_code(["def read_csv(path): return DataFrame(path)"]), is_code(["A bread made of flour and water."])
    (True, False)
    """
    names = words = 0
    for text in texts:
        names += len(_NAME.findall(text))
        words += len(text.split())
    return words > 0 and names / words >= NAMES
