"""Copies the trained base and generator here in half precision, with their training curves and hashes.

    .venv/bin/snakemake --cores 2 --configfile config/pretrained.yaml -- \
        results/pretrained/models/base/simlm.json results/pretrained/models/generator/simlm.json
    .venv/bin/python pretrained/export.py results/pretrained
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from simlm.files import sha256_file, write_text
from simlm.models.loading import load_tokenizer
from simlm.models.masked_language_model import load_masked_language_model

HERE = Path(__file__).resolve().parent


def export(results: Path, name: str) -> None:
    """Write ``pydocs-<name>``: weights in bf16, configuration, tokenizer, curve."""
    source, target = results / "models" / name, HERE / f"pydocs-{name}"
    shutil.rmtree(target, ignore_errors=True)
    tokenizer = load_tokenizer(source)
    model = load_masked_language_model(source, tokenizer).to(torch.bfloat16)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    shutil.copy(results / "training" / f"{name}.history.jsonl", target / "history.jsonl")


if __name__ == "__main__":
    for one in ("base", "generator"):
        export(Path(sys.argv[1]), one)
    files = sorted(path for path in HERE.glob("pydocs-*/*") if path.is_file())
    write_text(HERE / "SHA256SUMS", "".join(f"{sha256_file(path)}  {path.relative_to(HERE)}\n" for path in files))
