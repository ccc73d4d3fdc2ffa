"""Queries that a sequence-to-sequence model writes for passages, as doc2query does (Nogueira and Lin, "From doc2query to docTTTTTquery", 2019).

Each token is drawn from the ``top_k`` likeliest ones. The draw belongs to (seed, passage, number of the query, position): a query is
the same whatever else is in its batch, and after any resume.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from simlm import hardware
from simlm.config.corpora import Generator
from simlm.corpus.store import CorpusStore
from simlm.files import write_json
from simlm.models.batches import cut_by_tokens
from simlm.models.weights import load_pretrained
from simlm.progress import progress
from simlm.training.randomness import uniform
from simlm.walltime import Clock

PART = 256
"""Passages whose queries are written to disk together, from where a killed stage goes on."""

TOKENS = 105
"""Stream of random numbers (see :func:`simlm.training.randomness.uniform`)."""

WHAT = "query generator"


class QueryGenerator:
    """A model that writes queries.

    Parameters
    ----------
    folder
        Model and tokenizer, or a Hugging Face id in the cache.
    precision
        Arithmetic, see :func:`simlm.hardware.choose_precision`.
    """

    def __init__(self, folder: str, settings: Generator, seed: int, precision: hardware.Precision) -> None:
        self.settings, self.seed, self.precision = settings, seed, precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_pretrained(AutoTokenizer, folder, "tokenizer")
        self.model = load_pretrained(AutoModelForSeq2SeqLM, folder, WHAT, dtype=torch.float32).to(self.device).eval()
        own = self.model.generation_config
        special = {name: getattr(own, name) for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id")}
        # What else a published configuration says of its decoding, such as beams or penalties, is not what is asked for here.
        self.decoding = GenerationConfig(**special, max_new_tokens=settings.query_length, do_sample=False, num_beams=1)

    @torch.inference_mode()
    def write(self, rows: np.ndarray, texts: list[str]) -> list[list[str]]:
        """``per_passage`` queries for each text; ``rows`` name the passages in the draws."""
        prompted = [self.settings.prompt + text for text in texts]
        ids = self.tokenizer(prompted, truncation=True, max_length=self.settings.passage_length)["input_ids"]
        found: list[list[str]] = [[] for _ in texts]
        for piece in cut_by_tokens(np.array(list(map(len, ids))), self.settings.batch_tokens):
            batch = self.tokenizer.pad({"input_ids": [ids[i] for i in piece]}, return_tensors="pt").to(self.device)
            for i, queries in zip(piece.tolist(), self._write(rows[piece], batch), strict=True):
                found[i] = queries
        return found

    def _write(self, rows: np.ndarray, batch: Any) -> list[list[str]]:
        count = self.settings.per_passage
        visits = np.stack([np.repeat(rows, count), np.tile(np.arange(count), len(rows))], 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16):
            # A passage is read once for all of its queries.
            states = self.model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            written = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states.repeat_interleave(count, 0)),
                attention_mask=batch["attention_mask"].repeat_interleave(count, 0),
                generation_config=self.decoding,
                logits_processor=LogitsProcessorList([DrawnFromTop(self.seed, visits, self.settings.top_k)]),
            )
        texts = [" ".join(text.split()) for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return [texts[start : start + count] for start in range(0, len(texts), count)]


class DrawnFromTop(LogitsProcessor):
    """Leaves one token, drawn from the ``top_k`` likeliest ones by their probabilities.

    The greatest of logit plus Gumbel noise is such a draw (Gumbel, 1954).

    Parameters
    ----------
    visits
        (passage, number of the query) of each line of the batch, which with seed and position decide the draw.
    """

    def __init__(self, seed: int, visits: np.ndarray, top_k: int) -> None:
        self.seed, self.visits, self.top_k = seed, visits, top_k

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        values, places = scores.float().topk(min(self.top_k, scores.shape[-1]))
        keys = np.concatenate([self.visits, np.full((len(self.visits), 1), input_ids.shape[1])], 1)
        drawn = uniform(self.seed, TOKENS, keys, values.shape[1]).clip(1e-12, 1 - 1e-12)
        noise = torch.from_numpy(-np.log(-np.log(drawn))).to(values.device)
        chosen = places.gather(1, (values + noise).argmax(1, keepdim=True))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


def written_queries(generator: QueryGenerator, store: CorpusStore, rows: np.ndarray, folder: Path, key: str) -> Iterator[tuple[int, list[str]]]:
    """Row and queries of each passage at ``rows``; parts that a killed stage has left in ``folder`` under the same ``key`` are not written again."""
    for other in folder.glob("*"):
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)
    clock = Clock.of_this_job()
    starts = range(0, len(rows), PART)
    for start in progress(starts, len(starts), f"Writing queries, {PART} passages at a time", unit="parts"):
        block, file = rows[start : start + PART], folder / key / f"{start:09d}.json"
        part = _read(file, len(block))
        if part is None:
            clock.check("make_queries")
            clock.start()
            titles, texts = store.texts(block)
            part = generator.write(block, [f"{title} {text}" if title else text for title, text in zip(titles, texts, strict=True)])
            write_json(file, part)
            clock.piece_done()
        yield from zip(block.tolist(), part)


def _read(file: Path, passages: int) -> list[list[str]] | None:
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return part if isinstance(part, list) and len(part) == passages else None
