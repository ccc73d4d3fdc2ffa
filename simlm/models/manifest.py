"""``simlm.json``, which says what a model folder is: read, checked against the weights, and what it makes of a model's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simlm.digests import digests_below, require_described
from simlm.errors import UserError
from simlm.files import read_manifest as read_manifest_file
from simlm.files import sha256_file, sha256_text

MANIFEST = "simlm.json"
WEIGHTS = "model.safetensors"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """``simlm.json`` of a trained model, after a look at the size of its weights.

    Raises
    ------
    UserError
        If the model was never completed, or its weights are truncated or gone.
    """
    folder = Path(folder)
    made_by = _made_by(folder)
    manifest = local_manifest(folder, made_by)
    again = f"delete {folder} and run {made_by} again"
    weights = folder / WEIGHTS
    size = weights.stat().st_size if weights.exists() else 0
    if size != manifest["weights"]["bytes"]:
        raise UserError(f"{weights} is truncated or not the one {MANIFEST} describes ({size:,} bytes instead of {manifest['weights']['bytes']:,}); {again}")
    return manifest


def _made_by(folder: Path) -> str:
    """The command that writes a folder; all parts of a model (``joint.retriever``) are written by one."""
    return f"simlm train --model {folder.name.partition('.')[0]}"


def local_manifest(folder: Path, made_by: str) -> dict[str, Any]:
    """``simlm.json`` of a folder, checked for its form alone."""
    shape = {"kind": str, "lengths": dict, "weights": {"bytes": int, "sha256": str}}
    manifest = read_manifest_file(folder / MANIFEST, "the manifest of a model", made_by, shape)
    for what, length in manifest["lengths"].items():
        if not isinstance(length, int) or length < 1:
            raise UserError(f"{folder / MANIFEST} gives {length!r} as the length of a {what}, which is no number of tokens; run {made_by} again")
    return manifest


def verified_manifest(folder: str | Path) -> dict[str, Any]:
    """:func:`read_manifest`, after the folder's files were compared with their digests; for those who go on to load them.

    Raises
    ------
    UserError
        Also if a file is not the one that the manifest describes.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    results, made_by = folder.parent.parent, f"simlm train --model {folder.name}"
    if digests_below(results).of(folder / WEIGHTS) != manifest["weights"]["sha256"]:
        raise UserError(f"{folder / WEIGHTS} is not what {MANIFEST} describes (its sha256 differs); delete {folder} and run {made_by} again")
    require_described(results, folder, manifest, made_by)
    return manifest


def model_fingerprint(folder: str | Path) -> str:
    """Digest of all that a trained model's vectors or scores depend on, beside its tokenizer and lengths (:func:`identity_of`)."""
    return identity_of(read_manifest(folder))


def identity_of(manifest: dict[str, Any]) -> str:
    """The sha256 of the weights for a model that reads in SimLM's way; another way of reading is another model."""
    from simlm.models.reading import Reading

    weights, other = manifest["weights"]["sha256"], [manifest.get("between", {})]
    if "pooling" in manifest and (reading := Reading.of_manifest(manifest)) != Reading():
        other.append(reading.for_manifest())
    other += [manifest[entry] for entry in ("token_reading", "hybrid_vector") if entry in manifest]
    return sha256_text(json.dumps([weights, other], sort_keys=True)) if any(other) else weights


def foreign_identity(folder: Path) -> str:
    """Digest of all files of a folder that this project did not write which weights, tokenizer and way of reading may depend on."""
    endings = (".json", ".safetensors", ".bin", ".txt", ".model", ".metadata")
    files = (file for file in sorted(folder.rglob("*")) if file.suffix in endings and file.is_file())
    return sha256_text(json.dumps([[str(file.relative_to(folder)), sha256_file(file)] for file in files]))
