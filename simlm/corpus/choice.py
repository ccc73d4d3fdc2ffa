"""Choices by hash: the same id is chosen on every machine, whatever else is in the collection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash64(text: str, salt: str = "") -> int:
    """64-bit hash of a string; ``salt`` makes independent choices independent."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=salt.encode()[:16]).digest(), "big")


def part_of(text: str, parts: dict[str, float]) -> str:
    """Name of the part that ``text`` falls into; ``parts`` maps names to shares that add up to 1.

    >>> part_of("numpy.add", {"train": 1.0})
    'train'
    """
    point = hash64(text, "part") / 2**64
    for name, share in parts.items():
        point -= share
        if point < 0:
            return name
    return name


def first_by_hash(texts: Iterable[str], count: int, salt: str) -> set[str]:
    """The ``count`` strings with the smallest hashes.

    >>> sorted(first_by_hash(["a", "b"], 5, "queries"))
    ['a', 'b']
    """
    return set(sorted(texts, key=lambda text: (hash64(text, salt), text))[:count])
