"""Results that are no longer what their manifests say: found before a workflow plans its jobs, so that they are made again.

Snakemake takes a manifest for the stage. Where a power cut, a full disk or a copy that broke off left one beside files that are empty, cut or
full of zeros, the manifest and the stage's record are removed here, and the plain command runs the stage again. Sizes and beginnings are looked
at every time, and digests of files that something has touched since; those of big files that nobody knows only if the last workflow ended with its
machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlm.digests import described as described_files
from simlm.digests import digests_below
from simlm.errors import UserError
from simlm.files import is_sealed, peek_json, write_json
from simlm.paths import Paths

NEVER_EMPTY = (".json", ".safetensors", ".npy", ".parquet", ".arrow", ".faiss")
"""None of these begins with eight zero bytes either, nor do texts."""

TEXTS = (".tsv", ".trec", ".jsonl", ".html", ".yaml", ".md")

Claim = tuple[Path, dict[str, Any], Path]
"""A file, its size and perhaps digest, and the manifest or record that says so."""

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Damage:
    """A damaged file.

    Attributes
    ----------
    file
        What is damaged.
    reason
        How it was noticed.
    stands
        Manifests and records by which a workflow would take it for whole.
    """

    file: Path
    reason: str
    stands: tuple[Path, ...]


def find(paths: Paths, digests: bool = False) -> list[Damage]:
    """Damaged results of an experiment.

    Parameters
    ----------
    digests
        Compare all files of which a digest is known with it, which reads them.
    """
    claims, known = list(_claims(paths)), digests_below(paths.root)
    reasons = {file: reason for file in _results(paths) if (reason := _hollow(file))}
    reasons |= {file: "is not what its stage wrote" for file in _records(paths) if file not in reasons and not is_sealed(peek_json(file))}
    for file, about, by in claims:
        # A missing output Snakemake sees by itself, and the record of a stage that is no longer part of the experiment may name some.
        if file not in reasons and (file.exists() or by.parent.name != "stages") and (reason := known.misfit(file, about, big=digests)):
            reasons[file] = reason
    found = []
    for file, reason in sorted(reasons.items()):
        manifests = [*(by for other, _, by in claims if other == file), *_beside(file)]
        # The record of the stage that wrote the manifest is what the workflow asks for.
        records = [by for other, _, by in claims if by.parent.name == "stages" and any(_belongs(other, manifest) for manifest in manifests)]
        found.append(Damage(file, reason, tuple(dict.fromkeys([*manifests, *records]))))
    return found


def stated(paths: Paths) -> Iterator[Claim]:
    """What all records say of the outputs of their stages; the results may have moved since."""
    for record in _records(paths):
        values = peek_json(record)
        outputs, folder = values.get("outputs"), values.get("folder")
        for about in outputs.values() if isinstance(outputs, dict) else ():
            if isinstance(about, dict) and isinstance(about.get("path"), str) and isinstance(about.get("bytes"), int):
                file = Path(about["path"])
                if isinstance(folder, str) and file.is_relative_to(folder):
                    file = paths.root / file.relative_to(folder)
                if file.resolve().is_relative_to(paths.root.resolve()):
                    yield file, about, record


def require_stated(paths: Paths, files: Iterable[Path] | None = None) -> None:
    """Refuse results that are not what the records of their stages say: cut, changed, or put there by somebody else.

    Parameters
    ----------
    files
        What will be read; a manifest among them stands for the files that it describes, a record for the outputs of its stage. Default: everything.

    Raises
    ------
    UserError
        With the file, and the record of its stage.
    """
    wanted, known = None if files is None else set(files), digests_below(paths.root)
    for record in _records(paths):
        if (wanted is None or record in wanted) and not is_sealed(peek_json(record)):
            raise UserError(f"{record} is not what its stage wrote; run the stage {record.stem} again")
    # Weights, vectors and indexes of a job are compared by those who load them.
    claims = list(_claims(paths)) if wanted is None else [*stated(paths), *_folders(paths)]
    makers = {file: record.stem for file, _, record in claims if record.parent.name == "stages"}
    followed = {file for file, _, by in claims if wanted is not None and by in wanted}
    for file, about, by in claims:
        described = wanted is not None and by in wanted and by.parent.name != "stages"
        if not file.is_file() and not described:
            continue  # whoever needs it says so; what nobody reads any more may be deleted
        direct = wanted is not None and (file in wanted or described)
        if (direct or wanted is None or file in followed or by in followed) and (reason := known.misfit(file, about, big=direct)):
            stage = by.stem if by.parent.name == "stages" else makers.get(by, "that made it")
            raise UserError(f"{file} {reason} ({by}); run the stage {stage} again, or delete both if it is to stay as it is")


def undo(damages: list[Damage]) -> None:
    """Remove what stands for the damaged files, and those that stand for themselves."""
    for damage in damages:
        for file in damage.stands or (damage.file,):
            file.unlink(missing_ok=True)
        if damage.file.suffix in (*TEXTS, ".json", ".parquet"):
            damage.file.unlink(missing_ok=True)


def begin(paths: Paths) -> None:
    """Note that a workflow runs, and since which start of the machine."""
    write_json(_mark(paths), {"boot": _boot()})


def end(paths: Paths) -> None:
    """Note that the workflow has ended by itself."""
    _mark(paths).unlink(missing_ok=True)


def ended_with_machine(paths: Paths) -> bool:
    """Whether the last workflow neither ended by itself nor was killed since the machine was started."""
    try:
        return json.loads(_mark(paths).read_text(encoding="utf-8"))["boot"] != _boot()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _mark(paths: Paths) -> Path:
    return paths.root / ".config" / "running.json"


def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _results(paths: Paths) -> Iterator[Path]:
    """Files of the stages; what trainings keep for themselves is theirs to check."""
    for folder in (paths.corpus, paths.tokenizer, paths.bm25, *(paths.root / name for name in _FOLDERS)):
        yield from (
            file for file in sorted(folder.rglob("*")) if file.is_file() and not any(part.startswith(".") for part in file.relative_to(paths.root).parts)
        )
    yield from (
        file for file in (paths.config, paths.inputs, paths.metrics_table, paths.variants, paths.reproduction, paths.report, paths.mirror) if file.is_file()
    )


_FOLDERS = ("models", "embeddings", "index", "runs", "negatives", "teacher_scores", "evaluation", "stages")


def _hollow(file: Path) -> str | None:
    try:
        with open(file, "rb") as stream:
            beginning = stream.read(8)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not beginning:
        return "is empty" if file.suffix in NEVER_EMPTY else None
    return "is full of zeros" if not any(beginning) and file.suffix in (*NEVER_EMPTY, *TEXTS) else None


def _records(paths: Paths) -> list[Path]:
    return sorted((paths.root / "stages").glob("*.json"))


def _claims(paths: Paths) -> Iterator[Claim]:
    """What records and manifests say of files."""
    yield from stated(paths)
    yield from _folders(paths)
    for manifest in sorted(file for pattern in ("models/*/simlm.json", "embeddings/*/*.json", "index/*/manifest.json") for file in paths.root.glob(pattern)):
        values = peek_json(manifest)
        for key, name in (("weights", "model.safetensors"), ("vectors", None), ("offsets", None), ("file", "index.faiss")):
            about = values.get(key)
            if isinstance(about, dict) and isinstance(about.get("bytes"), int) and (name or isinstance(about.get("file"), str)):
                yield manifest.parent / (name or Path(about["file"]).name), about, manifest


def _folders(paths: Paths) -> Iterator[Claim]:
    """What the manifests of folders say of the files below them."""
    several = (file for pattern in ("models/*/simlm.json", "index/*/manifest.json") for file in sorted(paths.root.glob(pattern)))
    for manifest in [*(folder / "manifest.json" for folder in (paths.corpus, paths.tokenizer, paths.bm25)), *several]:
        for file, about in described_files(manifest.parent, peek_json(manifest)).items():
            yield file, about, manifest


def _belongs(output: Path, manifest: Path) -> bool:
    """Whether an output of a stage is the manifest, or a file of the folder that it describes."""
    return output == manifest or (manifest.name in ("simlm.json", "manifest.json") and output.parent == manifest.parent)


def _beside(file: Path) -> list[Path]:
    """The manifests that lie with a file: of its shard, or of the nearest folder that has one."""
    own = file.with_suffix(".json")
    if own != file and own.exists():
        return [own]
    for folder in list(file.parents)[:3]:
        for name in ("simlm.json", "manifest.json"):
            if (folder / name).exists():
                return [folder / name]
    return []
