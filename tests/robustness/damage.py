"""Ways in which a file goes wrong; each returns a function of the place that does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Any], None]
RESULTS = "results/tiny/"


def cut(name: str, share: float = 0.6) -> Damage:
    """Truncate, as a full disk or a broken copy does."""

    def do(place) -> None:
        file = place.root / RESULTS / name
        content = file.read_bytes()
        assert len(content) > 10
        file.write_bytes(content[: int(len(content) * share)])

    return do


def write(name: str, content: str | bytes) -> Damage:
    """Replace the content."""

    def do(place) -> None:
        file = place.root / RESULTS / name
        assert file.exists()
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return do


def flip(name: str, at: float = 0.7) -> Damage:
    """Change one byte; the size stays."""

    def do(place) -> None:
        file = place.root / RESULTS / name
        content = bytearray(file.read_bytes())
        content[int(len(content) * at)] ^= 0x5A
        file.write_bytes(content)

    return do


def zeros(name: str) -> Damage:
    """Zeros of the same size, as a crashed file system leaves them."""

    def do(place) -> None:
        file = place.root / RESULTS / name
        file.write_bytes(bytes(file.stat().st_size))

    return do


def copy(source: str, name: str) -> Damage:
    """Put another station's file there."""

    def do(place) -> None:
        assert (place.root / RESULTS / name).exists()
        shutil.copyfile(place.root / RESULTS / source, place.root / RESULTS / name)

    return do


def remove(name: str) -> Damage:
    def do(place) -> None:
        (place.root / RESULTS / name).unlink()

    return do


def line(name: str, number: int, text: str | None, encoding: str = "utf-8") -> Damage:
    """Replace one line (from 1); None removes it."""

    def do(place) -> None:
        file = place.root / RESULTS / name
        lines = file.read_bytes().split(b"\n")
        lines[number - 1 : number] = [] if text is None else [text.encode(encoding)]
        file.write_bytes(b"\n".join(lines))

    return do


def entry(name: str, *path_and_value: Any) -> Damage:
    """Set one value of a JSON file; ``...`` removes the key."""
    *keys, last, value = path_and_value

    def do(place) -> None:
        file = place.root / RESULTS / name
        content = inner = json.loads(file.read_text())
        for key in keys:
            inner = inner[key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
        file.write_text(json.dumps(content))

    return do


def parquet(name: str, **columns: Any) -> Damage:
    """Replace columns of a Parquet file, keeping its schema; a function is called with the column's list."""

    def do(place) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = place.root / RESULTS / name
        table = pq.read_table(file)
        for column, change in columns.items():
            values = change(table[column].to_pylist())
            table = table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.array(values, table.schema.field(column).type))
        pq.write_table(table, file)

    return do


def both(*damages: Damage) -> Damage:
    def do(place) -> None:
        for damage in damages:
            damage(place)

    return do


def described_anew(folder: str, manifest: str, file: str, *keys: str) -> Damage:
    """Write size and digest of a file into its manifest, so that only the content is wrong."""

    def do(place) -> None:
        from simlm.files import sha256_file

        target = place.root / RESULTS / folder / file
        path = place.root / RESULTS / folder / manifest
        content = inner = json.loads(path.read_text())
        for key in keys:
            inner = inner[key]
        inner |= {"bytes": target.stat().st_size, "sha256": sha256_file(target)}
        path.write_text(json.dumps(content))

    return do


def touch_data(name: str, content: str | bytes) -> Damage:
    """Replace a file of the corpus's source."""

    def do(place) -> None:
        file = Path(place.root) / "data" / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return do
