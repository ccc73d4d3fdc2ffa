"""Size of an index by its settings, and how much of it a query looks at."""

from __future__ import annotations

import re


def vector_bytes(factory: str, dimension: int) -> float:
    """Bytes per vector of an index.

    >>> vector_bytes("Flat", 768), vector_bytes("SQfp16", 768), vector_bytes("OPQ64,IVF4096,PQ64", 768), vector_bytes("HNSW32", 768)
    (3072, 1536, 72, 3340)
    """
    size, width = 0.0, dimension
    code: float | None = None
    for part in re.split(r"[,_]", factory):
        if found := re.fullmatch(r"PCA[RW]*(\d+)|OPQ\d+_(\d+)", part):
            width = int(found[1] or found[2])
        elif found := re.fullmatch(r"PQ(\d+)(?:x(\d+))?(?:fsr?|np)?", part):
            code = int(found[1]) * int(found[2] or 8) / 8
        elif found := re.fullmatch(r"SQ(fp16|bf16|\d+).*", part):
            code = width * {"fp16": 2.0, "bf16": 2.0}.get(found[1], int(found[1]) / 8 if found[1].isdigit() else 2.0)
        elif part == "Flat":
            code = 4.0 * width
        elif found := re.fullmatch(r"HNSW(\d+)", part):
            # Twice as many neighbours on the lowest level, four bytes each, and what the levels above take.
            size += 8 * int(found[1]) + 12
        elif re.match(r"IVF\d+", part):
            size += 8
    total = size + (4.0 * width if code is None else code)
    return int(total) if total == int(total) else total


def looked_at(factory: str, nprobe: int | None, rows: int) -> float:
    """Share of the vectors that a query is compared with.

    >>> looked_at("Flat", None, 1000), looked_at("IVF4096,Flat", 64, 10**6)
    (1.0, 0.015625)
    """
    if found := re.search(r"IVF(\d+)", factory):
        return min(1.0, (nprobe or 1) / int(found[1]))
    if "HNSW" in factory:
        return min(1.0, 5_000 / max(1, rows))
    return 1.0


def residual_bytes(bits: int, dimension: int) -> float:
    """Bytes per vector of a compressed late-interaction index: centroid, residual, and the share of a list of passages.

    >>> residual_bytes(2, 128)
    38.48
    """
    return 4 + dimension * bits / 8 + 4 * LISTED


LISTED = 0.62
"""Entries in the lists of passages per vector, several of which share a centroid (measured on 33,600 passages of MS MARCO)."""
