"""Builds the results of an experiment as the stages leave them, without running the stages."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from simlm.config import Experiment, validate
from simlm.config.graph import compared_pairs
from simlm.config.jobs import jobs
from simlm.config.stages import canonical, settings_of
from simlm.context import Context
from simlm.corpus.store import write_corpus
from simlm.files import sha256_file, sha256_text, write_json, write_text
from simlm.paths import Paths

HOSTILE = '<script>alert("x")</script> & "quotes" שלום 🙂 </style>'
SPEED = {"tokens_per_second": 14_250.0, "padded_tokens_per_second": 15_000.0, "padding": 0.05, "waited": 0.125}
TRAINED = {"batch_size": 8, "learning_rate": 1e-3}


def made_configuration(results: Path, **over: Any) -> dict[str, Any]:
    """The default's graph, small, as plain values."""
    dense = {"kind": "biencoder", "init": "simlm", "negatives": "bm25", "epochs": 1, "hard_negatives": 1, **TRAINED}
    return {
        "name": "made",
        "results": str(results),
        "corpus": {"source": "beir", "path": "data/made", "splits": {"train": "train", "dev": "dev", "test": "test"}},
        "encoding": {"shards": 2},
        "models": {
            "base": {"kind": "mlm", "size": {}, "steps": 40, **TRAINED},
            "generator": {"kind": "mlm", "size": {"layers": 2}, "steps": 40, **TRAINED},
            "simlm": {"kind": "bottleneck", "init": "base", "generator": "generator", "steps": 200, **TRAINED},
            "control": {**dense, "init": "base"},
            "retriever1": dense,
            "retriever2": {**dense, "negatives": "retriever1"},
            "reranker": {"kind": "crossencoder", "init": "base", "negatives": "retriever2", "hard_negatives": 3, "epochs": 1, **TRAINED},
            "distilled": {**dense, "negatives": "retriever2", "teacher": "reranker"},
            "fusion": {"kind": "fusion", "of": ["distilled", "bm25"]},
        },
        "evaluate": {
            "systems": ["bm25", "control", "retriever1", "retriever2", "reranker", "distilled", "fusion"],
            "splits": {"dev": {}, "test": {}},
            "main_split": "test",
        },
        **over,
    }


def of_file(file: Path) -> dict[str, Any]:
    """Size and digest."""
    return {"bytes": file.stat().st_size, "sha256": sha256_file(file)}


class MadeResults:
    """Everything below ``results/made`` that the report and the mirror read."""

    def __init__(self, results: Path, **over: Any) -> None:
        import yaml

        values = made_configuration(results, **over)
        self.experiment: Experiment = validate(values)
        self.paths = Paths(results / self.experiment.name)
        self.context = Context(self.experiment, self.paths)
        self.random = random.Random(1)
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        write_text(self.paths.config, yaml.safe_dump(values, sort_keys=False))
        self._corpus()
        self._stages()
        self._evaluation()

    def _corpus(self) -> None:
        self.ids = [f"module.function_{i}" for i in range(60)]
        passages = [
            (name, HOSTILE if i == 0 else name, f"Passage {i} tells about thing {i}. {HOSTILE if i % 7 == 0 else ''}" * 3) for i, name in enumerate(self.ids)
        ]
        splits = {}
        self.queries = {}
        for split, count in (("train", 30), ("dev", 10), ("test", 20)):
            names = [f"{split}-{i}" for i in range(count)]
            texts = [(name, f"{HOSTILE} number {i}" if i == 0 else f"find thing {i}") for i, name in enumerate(names)]
            splits[split] = (texts, [(name, self.ids[i], 1) for i, name in enumerate(names)])
            self.queries[split] = names
        write_corpus(self.paths.corpus, passages, splits, {"source": "beir", "versions": {"numpy": "2.4.0"}, "dropped": {"duplicates": 3}})

    def _stages(self) -> None:
        names = ["prepare_corpus", "train_tokenizer", "index_bm25", "search_bm25.train", "search_bm25"]
        for model, block in self.experiment.models.items():
            if not block.trainer:
                continue
            if model == "distilled":
                names.append("score_teacher.distilled")
            names.append(f"train.{model}")
            if block.encodes:
                names += [f"encode.{model}.1-of-2", f"encode.{model}.2-of-2", f"build_index.{model}", f"search_index.{model}"]
            if model in ("retriever1", "retriever2"):
                names += [f"search_index.{model}.train", f"mine_negatives.{model}"]
        for name in [*names, "rerank.reranker", "fuse.fusion", "evaluate", "compare_systems"]:
            self.stage(name)

    def stage(self, name: str, seconds: float = 12.5, **over: Any) -> dict[str, Any]:
        """Write a record (and, for a training, its curve), starting where the last one ended."""
        kind, _, subject = name.partition(".")
        job = next((job for job in jobs(self.experiment) if job.label == name), None)
        settings = json.loads(canonical(settings_of(self.experiment, *job))) if job else {"seed": 42}
        if kind == "train":
            self._history(subject, self.experiment.models[subject].kind)
        corpus = self.paths.corpus / "manifest.json"
        output = self.paths.root / "models" / subject / "model.safetensors" if kind == "train" else corpus
        record = {
            "stage": name, "key": sha256_text(name)[:16], "settings": settings,
            "inputs": {} if name == "prepare_corpus" else {"corpus": {"path": str(corpus), "sha256": sha256_file(corpus)}},
            "outputs": {"file": {"path": str(output), **(of_file(output) if output.exists() else {"bytes": 123, "sha256": sha256_text("o")})}},
            "metrics": {"steps": 200, "loss": 1.25, "held_out/RR": 0.5, **SPEED} if kind == "train" else {"queries": 20},
            "notes": {"precision": "fp32: the CPU lacks bf16 instructions", "dropped": {"no positive": 2}, **({"binds": "host"} if kind == "train" else {})},
            "start": self.clock.isoformat(), "end": (self.clock + timedelta(seconds=seconds)).isoformat(), "seconds": seconds, "peak_memory_mib": 512.5,
            "environment": {"simlm": "0.1.0", "python": "3.11.2", "torch": "2.13.0"}, "git": {"commit": "0" * 40, "dirty": False},
            "hardware": {"cpu": "Some CPU", "cores": 2, "memory_gib": 6.0, "system": "Linux"},
        } | over  # fmt: skip
        self.clock += timedelta(seconds=seconds + 1)
        write_json(self.paths.record(name), record)
        benchmark = {"s": seconds + 1, "h:m:s": "0:00:13", "max_rss": 800.0 if seconds > 1 else "NA", "cpu_time": 20.0, "mean_load": 150.0}
        write_text(self.paths.benchmark(name), json.dumps(benchmark) + "\n")
        write_text(self.paths.log(name), f"{name} done\n")
        return record

    def _history(self, model: str, kind: str) -> None:
        lines = []
        for step in range(10, 201, 10):
            line: dict[str, Any] = {"step": step, "loss": 6 * math.exp(-step / 80) + 1 + self.random.random() * 0.1, "learning_rate": 1e-3 * (1 - step / 200)}
            line |= {"grad_norm": 1 + self.random.random(), "tokens_per_second": 14_000 + self.random.random() * 500}
            if kind == "bottleneck":
                line |= {"encoder_loss": line["loss"] * 0.4, "decoder_loss": line["loss"] * 0.6}
            lines.append(line)
            if kind == "bottleneck" and step % 50 == 0:
                lines.append(
                    {
                        "step": step,
                        "probe/RR@10": 0.1 + step / 1000,
                        "probe/R@50": 0.3 + step / 800,
                        "eval/encoder_loss": 3.0 - step / 200,
                        "eval/decoder_loss": 4.0 - step / 200,
                    }
                )
        write_text(self.paths.history(model), "".join(json.dumps(line) + "\n" for line in lines))

    def _evaluation(self) -> None:
        evaluate = self.experiment.evaluate
        table, comparisons = ["system\tsplit\tmetric\tvalue\tci_low\tci_high\tn_queries"], []
        for number, system in enumerate(evaluate.systems):
            for split in evaluate.splits:
                ranks = {query: (i % (9 - number)) + 1 for i, query in enumerate(self.queries[split])}
                self._run(system, split, ranks)
                values = {metric: [1 / rank for rank in ranks.values()] for metric in evaluate.metrics}
                means = {metric: sum(found) / len(found) for metric, found in values.items()}
                self.per_query(system, split, values)
                write_json(self.paths.metrics(system, split), {"system": system, "split": split, "metrics": means, "n_queries": len(ranks), "relevance": 1})
                table += [f"{system}\t{split}\t{metric}\t{mean!r}\t{mean - 0.03!r}\t{mean + 0.03!r}\t{len(ranks)}" for metric, mean in means.items()]
                for against in [other for name, other in compared_pairs(self.experiment) if name == system]:
                    p = 0.0004 if number > 3 else 0.2
                    comparisons += [
                        f"{system}\t{against}\t{split}\t{metric}\t0.0{number}\t{p}\t{min(1, p * 6)}\tt-test\t{len(ranks)}\t9\t4\t7" for metric in means
                    ]
        write_text(self.paths.metrics_table, "\n".join(table) + "\n")
        header = "system\tagainst\tsplit\tmetric\tdifference\tp\tp_holm\ttest\tn\twins\tlosses\tties"
        write_text(self.paths.comparisons, "\n".join([header, *comparisons]) + "\n")

    def per_query(self, system: str, split: str, values: dict[str, list[float]]) -> None:
        lines = ["\t".join(["query_id", *values])]
        for i, query in enumerate(self.queries[split]):
            lines.append("\t".join([query, *(repr(found[i]) for found in values.values())]))
        write_text(self.paths.per_query(system, split), "\n".join(lines) + "\n")

    def _run(self, system: str, split: str, ranks: dict[str, int]) -> None:
        lines = []
        for i, (query, rank) in enumerate(ranks.items()):
            others = [name for name in self.ids if name != self.ids[i]][:20]
            others.insert(rank - 1, self.ids[i])
            lines += [f"{query} Q0 {name} {place} {1 / place!r} {system}" for place, name in enumerate(others, 1)]
        write_text(self.paths.run(system, split), "\n".join(lines) + "\n")
