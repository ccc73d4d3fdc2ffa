"""Models and data sets from Hugging Face: fetched once into its cache, then read from there as plain folders.

A repository that is in the cache is used as it is, without asking the network: compute nodes may be offline, and all
jobs of an experiment read the commit that ``simlm download`` fetched. Interrupted downloads go on and finished ones
are checked by ``huggingface_hub``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from simlm.errors import UserError

What = Literal["model", "tokenizer", "dataset"]

SMALL = ["*.json", "vocab.txt", "merges.txt", "*.model", "artifact.metadata"]
SAFE, PICKLED = ["model.safetensors", "model-*.safetensors"], ["pytorch_model.bin", "pytorch_model-*.bin"]
DATA = ["*.jsonl", "*.jsonl.gz", "*.json", "*.json.gz", "*.parquet", "*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz"]
"""Files of a data set that hold data. Its loading script, if it has one, is neither fetched nor run."""


def fetch(reference: str, what: What, *, refresh: bool = False) -> Path:
    """Folder of a repository's files in the cache; downloads what is missing.

    Parameters
    ----------
    reference
        ``owner/name`` or ``owner/name@revision`` (a branch, tag or commit).
    what
        ``model``: configuration, tokenizer and weights (safetensors, or ``pytorch_model.bin`` where there are none);
        ``tokenizer``: without weights; ``dataset``: data files.
    refresh
        Ask the network for a newer commit first; without a network the cached one is used.

    Raises
    ------
    UserError
        If it is neither in the cache nor can be downloaded.
    """
    there = cached(reference, what)
    if there is not None and not refresh:
        return there
    try:
        return _snapshot(reference, what, online=True)
    except UserError:
        raise
    except Exception as error:  # many kinds: HTTP, proxy, timeouts, unknown names, gated repositories
        if there is not None:
            return there
        raise UserError(_sentence(reference, what, error)) from None


def commit_of(folder: Path) -> str:
    """Commit that a folder returned by :func:`fetch` belongs to."""
    return folder.name


def cached(reference: str, what: What) -> Path | None:
    """What :func:`fetch` would give without a network: the folder in the cache, or None."""
    try:
        return _snapshot(reference, what, online=False)
    except Exception:
        return None


def _snapshot(reference: str, what: What, *, online: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    # Retries print tracebacks otherwise; what matters is in the sentence at the end.
    logging.set_verbosity(logging.CRITICAL)
    repository, _, revision = reference.partition("@")
    # Files in subfolders are other formats (ONNX, Core ML) of the same weights, but for the modules of sentence-transformers.
    options: dict[str, Any] = {"revision": revision or None, "local_files_only": not online, "ignore_patterns": ["*/*"]}
    if what == "dataset":
        folder = Path(snapshot_download(repository, repo_type="dataset", allow_patterns=DATA, **options | {"ignore_patterns": None}))
        if not data_files(folder):
            raise UserError(f"'{repository}' has no files that hold data ({', '.join(DATA[::2])}); name another data set")
        return folder
    folder = Path(snapshot_download(repository, allow_patterns=[*SMALL, *(SAFE if what == "model" else [])], **options))
    if what == "model" and not _has(folder, SAFE):
        folder = Path(snapshot_download(repository, allow_patterns=PICKLED, **options))
        if not _has(folder, PICKLED):
            raise UserError(f"'{repository}' has neither model.safetensors nor pytorch_model.bin; name another model")
    if what == "model" and (wanted := _modules(folder)):
        options["ignore_patterns"] = None
        folder = Path(snapshot_download(repository, allow_patterns=[f"{place}/{file}" for place in wanted for file in (*SMALL, *SAFE, *PICKLED)], **options))
        _check_modules(folder, repository)
    if what == "model" and not ((folder / "config.json").exists() or any((folder / place / "config.json").exists() for place in _modules(folder))):
        raise UserError(f"'{repository}' has no config.json; name the repository of a transformers model")
    if what == "model" and (lost := [name for name in _shards(folder) if not (folder / name).exists()]):
        raise UserError(f"'{repository}' lacks {lost[0]}, a shard of its weights; run simlm download again")
    return folder


def _modules(folder: Path) -> list[str]:
    """Subfolders that a ``modules.json`` names."""
    try:
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return [place for entry in entries if (place := entry.get("path")) and ".." not in Path(place).parts]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _check_modules(folder: Path, repository: str) -> None:
    """A cache filled before modules were fetched, or without a network, is not whole: without ``1_Pooling`` vectors would be wrong ones."""
    lost = [place for place in _modules(folder) if place.endswith(("_Pooling", "_Dense")) and not (folder / place / "config.json").exists()]
    if lost:
        raise UserError(f"'{repository}' lacks {lost[0]}/config.json, which its modules.json names; run simlm download again")


def _shards(folder: Path) -> set[str]:
    """Names of the files that an index of weights lists, if these are the weights that are read."""
    for whole, index in (("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")):
        if (folder / whole).exists():
            return set()
        try:
            return set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    return set()


def data_files(folder: Path) -> list[Path]:
    """Files of a data set's folder that hold data, sorted."""
    return sorted({file for pattern in DATA for file in folder.rglob(pattern) if file.is_file() and not file.name.startswith("dataset_info")})


def _has(folder: Path, patterns: list[str]) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def _sentence(reference: str, what: What, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    repository, _, revision = reference.partition("@")
    kind = "dataset" if what == "dataset" else "model"
    reason = " ".join(str(error).split())[:160]
    command = f"hf download {repository}" + (" --repo-type dataset" if kind == "dataset" else "") + (f" --revision {revision}" if revision else "")
    place = f"{HF_HUB_CACHE}/{repo_folder_name(repo_id=repository, repo_type=kind)}"
    return (
        f"'{reference}' could not be fetched from Hugging Face ({type(error).__name__}: {reason}); check the name, or run `{command}` where there is a "
        f"network and copy the cache folder to {place}, or give the folder of a download instead of the name"
    )
