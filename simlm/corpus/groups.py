"""Groups of a corpus: packages, folders, sites, wherever the ids of the passages name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BORDER = re.compile(r"[./#:]")


def group_of(passage_id: str) -> str:
    """What stands before the first dot, slash, hash or colon of an id; the whole id where there is none.

    >>> group_of("transformers.models.bert"), group_of("docs/guide.md#2"), group_of("7067032")
    ('transformers', 'docs', '7067032')
    """
    return _BORDER.split(passage_id, maxsplit=1)[0]


def groups(passage_ids: Iterable[str], least: int = 5) -> dict[str, str]:
    """Passage id → its group; empty where the ids name no groups: a single one, or fewer than ``least`` ids to a group.

    >>> groups(["a.x", "a.y", "b.x", "b.y"], least=2)
    {'a.x': 'a', 'a.y': 'a', 'b.x': 'b', 'b.y': 'b'}
    >>> groups(["10", "11", "12"]), groups(["a.x", "a.y"])
    ({}, {})
    """
    found = {name: group_of(name) for name in passage_ids}
    count = len(set(found.values()))
    return found if 1 < count <= len(found) / least else {}
