"""What every stage of an experiment will cost: jobs, accelerator and CPU time, disk, memory. ``docs/plan.md`` explains the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from simlm.config import Experiment
from simlm.config.corpora import PythonDocs
from simlm.config.graph import folders_of, searched_splits
from simlm.config.jobs import Job, jobs, runs_made, teachers_of
from simlm.config.metrics import by_answers
from simlm.config.resources import Asked
from simlm.hardware import cpu_has_bf16
from simlm.indexes.residual import effort, usual_centroids, usual_sample
from simlm.paths import Paths
from simlm.planning.costs import Accelerator, Costs
from simlm.planning.counts import Counts
from simlm.planning.index_size import looked_at, residual_bytes, vector_bytes
from simlm.planning.lengths import TOKENS_PER_WORD, mean_cut
from simlm.planning.shapes import Shape, outside
from simlm.planning.work import Workload
from simlm.text.token_cache import cache_bytes

MIB = 2**20
PROCESS = 100 * MIB
"""Resident memory of a command without torch, before it has read anything; docs/scale.md has the measurements."""
TORCH = 470 * MIB
"""The same with torch and transformers."""
POSTINGS_SHARE = 0.13
"""Sum of the document frequencies of a query's terms, as a share of the corpus (measured on MS MARCO passages and dev queries)."""
POSTINGS_PER_WORD = 0.6
"""Different terms of a passage that are no stop words, per word."""
ANSWER_WORD = 6e-7
"""CPU seconds per word of a passage in which answers are looked for (61 µs for a hundred words)."""
PYTHON_PASSAGE = 0.002
"""CPU seconds per passage for parsing Python sources (measured on the default corpus)."""
SEARCH_SHARE = 0.011
"""Speed of exact search on a GPU, which multiplies in fp32, as a share of the tensor cores' peak; measured on one H100 (docs/scale.md)."""
GATHERED = 0.12
"""Speed of a staged search of compressed vectors, which it gathers one by one, as a share of exact search's on a processor (docs/scale.md has the times)."""
PARALLEL = 0.6
"""Work of ``n`` threads in the time of one, as a power of ``n``: two bring 1.5 (the default: 1,467 core-seconds in 992 s on two cores)."""
WRITING = 3
"""A token that a generator writes, in tokens that it reads: assumed, because it is one pass over all weights per token; not measured."""
TREC_LINE = 48
"""Bytes of a line of a TREC run."""
IN_PARTS = ("search_bm25", "search_index", "fuse")
"""Stages that are counted part by part."""


@dataclass(frozen=True)
class Estimate:
    """One stage.

    Attributes
    ----------
    jobs, done
        Jobs of the workflow, and how many of them have left their record already.
    cpu, accelerator
        Seconds of all jobs together: of a core, of a GPU.
    disk
        Bytes that stay.
    memory
        Bytes of the largest process; weights and activations on a GPU do not count.
    """

    stage: str
    jobs: int
    done: int
    cpu: float
    accelerator: float
    disk: float
    memory: float

    def wall(self, given: Asked) -> float:
        """Seconds of a single job from its start to its end, with the threads and GPUs that it is given."""
        threads = max(1, given.threads)
        if self.accelerator and given.gpus:
            # The processor's part runs beside the GPU's, or in several processes.
            return max(self.accelerator / given.gpus, self.cpu / threads)
        return (self.cpu + self.accelerator) / threads**PARALLEL


@dataclass(frozen=True)
class Planner:
    """Estimates the stages of an experiment."""

    experiment: Experiment
    paths: Paths
    counts: Counts
    costs: Costs
    accelerator: Accelerator

    @property
    def work(self) -> Workload:
        return Workload(self.experiment, self.counts)

    def stages(self) -> list[Estimate]:
        """All stages of ``all``, in the order of the chain; the shards of a model are one line, and so are the searches of a system."""
        together: dict[str, list[Job]] = {}
        for job in [*jobs(self.experiment), Job("report"), Job("track")]:
            together.setdefault(job._replace(part=None).label, []).append(job)
        return [self._estimate(stage, every) for stage, every in together.items()]

    def job(self, job: Job) -> Estimate:
        """One job; its jobs are 1, whatever the stage has."""
        found = self._estimate(job._replace(part=None).label, [job])
        if job.stage != "encode":
            return found
        shards = self.experiment.encoding_of(str(job.name)).shards
        return replace(found, cpu=found.cpu / shards, accelerator=found.accelerator / shards, disk=found.disk / shards)

    def _estimate(self, stage: str, every: list[Job]) -> Estimate:
        done = sum(self.paths.mirror.exists() if job.stage == "track" else self.paths.record(job.label).exists() for job in every)
        # All shards of an embedding are counted at once, every search by itself.
        costs = [self._cost(job) for job in (every[:1] if every[0].stage == "encode" else every)]
        cpu, accelerator, disk, memory = zip(*costs)
        return Estimate(stage, len(every), done, sum(cpu), sum(accelerator), sum(disk), max(memory))

    def _cost(self, job: Job) -> tuple[float, float, float, float]:
        """CPU and accelerator seconds, disk, memory."""
        one: Callable[..., tuple[float, float, float, float]] = getattr(self, f"_{job.stage}", self._light)
        return one(job.name or "", job.part) if job.stage in IN_PARTS else one(job.name or "")

    def _light(self, _: str) -> tuple[float, float, float, float]:
        return 2 * self.costs.start_light, 0, 2 * MIB, PROCESS

    def _report(self, _: str) -> tuple[float, float, float, float]:
        return 8 * self.costs.start_light, 0, 2 * MIB, PROCESS + 40 * MIB

    def _track(self, _: str) -> tuple[float, float, float, float]:
        """Importing mlflow costs as much as importing torch."""
        return self.costs.start_torch, 0, 2 * MIB, PROCESS + 150 * MIB

    def _compute(self, operations: float, width: int, training: bool, gpus: int) -> tuple[float, float]:
        """CPU and accelerator seconds of some arithmetic; a GPU keeps one core busy."""
        if gpus:
            share = self.accelerator.training if training else self.accelerator.inference
            seconds = operations / (self.accelerator.peak_tflops * 1e12 * share)
            return seconds, seconds
        return operations / (1e9 * self.speedup * self.costs.gflops(width, training)), 0.0

    @cached_property
    def speedup(self) -> float:
        """How much faster than the tables of the constants this processor multiplies, because it has bf16 instructions and they did not."""
        return self.costs.bf16_speedup if self.experiment.precision != "fp32" and cpu_has_bf16() else 1.0

    @property
    def _words(self) -> float:
        return self.counts.passages * self.counts.words

    def _prepare_corpus(self, _: str) -> tuple[float, float, float, float]:
        queries = sum(self.counts.queries.values())
        parsing = self.counts.passages * PYTHON_PASSAGE if isinstance(self.experiment.corpus, PythonDocs) else 0
        disk = self._words * 6.2 + 24 * self.counts.passages + 90 * queries
        return self.costs.start_light + parsing + self._words * self.costs.corpus_word, 0, disk, PROCESS + 40 * self.counts.passages + 1_200 * queries

    def _make_queries(self, _: str) -> tuple[float, float, float, float]:
        made = self.experiment.corpus.made_queries
        passages = min(self.counts.passages, made.passages or self.counts.passages) if made else 0
        queries = passages * (made.generator.per_passage if made and made.generator else 1)
        cpu = self.costs.start_light + passages * self.counts.words * self.costs.corpus_word
        cpu += self._words * self.costs.bm25_index_word + self._bm25_queries(queries) if made and made.found_within else 0
        memory, accelerator = PROCESS + 20 * self._words * POSTINGS_PER_WORD + self._terms + 1_200 * queries, 0.0
        if made and made.generator:
            # Of an encoder and a decoder as large; the tokens of a query come one after the other, each a pass over all weights.
            shape, own = outside(made.generator.init).shape, made.generator
            tokens = mean_cut(self.counts.words * TOKENS_PER_WORD, own.passage_length) + WRITING * own.per_passage * own.query_length / 2
            seconds, accelerator = self._compute(2 * shape.parameters() * tokens * passages, shape.hidden, False, own.gpus)
            cpu, memory = cpu + seconds + self.costs.start_torch, memory + TORCH + 8 * shape.parameters()
        return cpu, accelerator, 250 * queries, memory

    def _train_tokenizer(self, _: str) -> tuple[float, float, float, float]:
        given = self.experiment.tokenizer.init is not None
        words = 0 if given else self._words * self.costs.vocabulary_word
        start = self.costs.start_torch if given else self.costs.start_light
        return start + words, 0, MIB, PROCESS + (210 if given else 60) * MIB

    def _index_bm25(self, _: str) -> tuple[float, float, float, float]:
        block, postings = self.experiment.bm25, self._words * POSTINGS_PER_WORD
        cpu = self.costs.start_light + len(block.analyzers) * self._words * self.costs.bm25_index_word
        if len(block.analyzers) > 1:
            cpu += len(block.analyzers) * self._bm25_queries(self.counts.queries.get(block.select_on, 0))
        return cpu, 0, 8 * postings, PROCESS + 20 * postings + (8 * postings if len(block.analyzers) > 1 else 0) + self._terms

    @property
    def _terms(self) -> float:
        """Bytes of the dictionary of terms, whose number grows with a power of the number of words (Heaps' law)."""
        return 400 * 25 * self._words**0.58

    def _bm25_queries(self, queries: float) -> float:
        return queries * (self.costs.bm25_query + POSTINGS_SHARE * self.counts.passages * self.costs.bm25_posting)

    def _runs(self, part: str | None = None) -> tuple[float, float, float]:
        """Queries, CPU seconds and disk of the runs that a search writes."""
        queries = seconds = disk = 0.0
        for split, mined in runs_made(self.experiment, part):
            number, depth = self.counts.queries.get(split, 0), self.experiment.negatives.depth if mined else self.experiment.evaluate.depth
            queries += number
            seconds += 0 if mined else number * depth * self.costs.run_line
            disk += number * min(self.counts.passages, depth) * (8 if mined else TREC_LINE)
        return queries, seconds, disk

    def _search_bm25(self, _: str, part: str | None) -> tuple[float, float, float, float]:
        queries, writing, disk = self._runs(part)
        memory = PROCESS + 8 * self._words * POSTINGS_PER_WORD + self._terms + 4 * self.counts.passages + 300 * queries
        return self.costs.start_light + self._bm25_queries(queries) + writing, 0, disk, memory

    def _mine_negatives(self, _: str) -> tuple[float, float, float, float]:
        queries, block = self.counts.queries.get("train", 0), self.experiment.negatives
        disk = 4 * queries * max(block.pad_to, block.sample)
        memory = PROCESS + 60 * MIB + 12 * self.counts.passages + 1_500 * queries
        looked = block.depth + block.pad_to if block.answers != "ignored" else 0
        reading = queries * looked * self.counts.words * ANSWER_WORD
        return self.costs.start_light + queries * self.costs.negatives_query + reading, 0, disk, memory

    def _train(self, name: str) -> tuple[float, float, float, float]:
        block, work = self.experiment.models[name], self.work.training(name)
        gpus = getattr(block, "gpus", 0)
        cpu, accelerator = self._compute(work.operations, work.width, True, gpus)
        cpu += self.costs.start_training + work.steps * self.costs.training_step + self._tokenized("train", name) * self.counts.words * self.costs.tokenize_word
        # The parts of a model are trained side by side.
        parameters = sum(self.work.shape(part).parameters() for part in folders_of(self.experiment, name))
        disk = 4 * parameters + self._cached("train", name)
        memory = TORCH + (16 * parameters if not gpus else 4 * parameters) + 24 * self.counts.passages
        memory += 0 if gpus else self._activations(name)
        if not block.pretrained:
            memory += 700 * self.counts.queries.get("train", 0)
        return cpu, accelerator, disk, memory

    def _activations(self, name: str) -> float:
        """Bytes that a step on a CPU keeps for the backward pass, freed buffers that the process holds on to included."""
        block, shape = self.experiment.models[name], self.work.shape(name)
        texts = (block.micro_batch_size or block.batch_size) * block.texts
        layers, labelled = shape.layers + block.decoding_layers, block.labelled
        tokens = self._limit(name)  # as wide as the longest text of a step
        logits = 8 * labelled * shape.vocabulary
        return texts * tokens * (3.5 * layers * (20 * shape.hidden + 6 * shape.heads * tokens) + logits)

    def _limit(self, name: str) -> int:
        block = self.experiment.system(name)
        return getattr(block, "passage_length", None) or getattr(block, "max_length", None) or 144

    @cached_property
    def _tokenizing(self) -> set[tuple[str, str | None]]:
        """(stage, model) of the jobs that cut the corpus into tokens: the first of each vocabulary and length, whose cache the others read."""
        first: dict[tuple[int, int], tuple[str, str | None]] = {}
        for job in jobs(self.experiment):
            if job.stage == "encode" or (job.stage == "train" and not self._pairs(str(job.name))):
                first.setdefault((self.work.shape(str(job.name)).vocabulary, self._limit(str(job.name))), (job.stage, job.name))
        return set(first.values())

    def _pairs(self, name: str) -> bool:
        """Whether a model reads pairs, which it tokenizes itself."""
        system = self.experiment.system(name)
        return system.scores and not system.encodes

    def _tokenized(self, stage: str, name: str) -> float:
        """Passages that a job has to tokenize."""
        if self._pairs(name):
            listed = self.counts.queries.get("train", 0) * max(self.experiment.negatives.pad_to, self.experiment.negatives.sample)
            return min(self.counts.passages, listed)
        return self.counts.passages if (stage, name) in self._tokenizing else 0

    def _cached(self, stage: str, name: str) -> float:
        """Bytes of the cache of tokens that a job leaves."""
        own = 0 if self._pairs(name) else self._tokenized(stage, name)
        return cache_bytes(int(own), own * mean_cut(self.work.passage(name), self._limit(name))) if own else 0

    def _encode(self, name: str) -> tuple[float, float, float, float]:
        block, shape = self.experiment.encoding_of(name), self.work.shape(name)
        queries = sum(self.counts.queries.get(split, 0) for split in searched_splits(self.experiment, name))
        work = self.counts.passages * self.work.encoding(name) + queries * self.work.asking(name)
        cpu, accelerator = self._compute(work, shape.hidden, False, block.gpus)
        cpu += block.shards * self.costs.start_torch + self._tokenized("encode", name) * self.counts.words * self.costs.tokenize_word
        disk = self._stored(name) + queries * self.work.query_vectors(name) * self.work.width(name) * 4 + self._cached("encode", name)
        batch = 0 if block.gpus else block.batch_size * self._read_at_once(shape, self._limit(name))
        return cpu, accelerator, disk, TORCH + 4 * shape.parameters() + batch + self._corpus_pages(block.shards)

    @staticmethod
    def _read_at_once(shape: Shape, tokens: int) -> float:
        """Bytes per text of ``tokens`` tokens that a forward pass on a processor takes: a layer's scores and states, three times over, because freed buffers
        are kept and batches differ in length (all-MiniLM-L6-v2, 128 texts of 256 tokens: 4.7 GB of the process in all)."""
        return 3 * 4 * tokens * (2 * shape.heads * tokens + 6 * shape.hidden + 2 * shape.intermediate)

    def _corpus_pages(self, shards: int = 1) -> float:
        """Pages of the memory-mapped corpus that a process has read; the kernel takes them back when it needs them."""
        return 6.5 * self._words / shards

    def _stored(self, name: str) -> float:
        """Bytes of the embedded passages."""
        return self.counts.passages * self.work.vectors(name) * self.work.width(name) * (2 if self.experiment.encoding_of(name).dtype == "fp16" else 4)

    def _build_index(self, name: str) -> tuple[float, float, float, float]:
        if self.work.ragged(name):
            return self._build_residual(name)
        size = self.counts.passages * vector_bytes(self.experiment.index_of(name).factory, self.work.width(name))
        return self.costs.start_light + self._stored(name) * self.costs.vector_byte, 0, size, PROCESS + size + 65_536 * 4 * self.work.width(name)

    def _build_residual(self, name: str) -> tuple[float, float, float, float]:
        """k-means over a sample, and the nearest centroid of every vector."""
        settings = self.experiment.index_of(name).residual
        if settings is None:
            return self._light(name)
        each, width = self.work.vectors(name), self.work.width(name)
        vectors, centroids = self.counts.passages * each, self._centroids(name)
        sampled = each * min(self.counts.passages, settings.sample or usual_sample(self.counts.passages))
        compared = 2 * width * centroids * (settings.iterations * sampled + vectors)
        cpu, accelerator = self.costs.start_light + self._stored(name) * self.costs.vector_byte, 0.0
        if self.experiment.encoding_of(name).gpus:
            accelerator = compared / (self.accelerator.peak_tflops * 1e12 * SEARCH_SHARE)
        else:
            cpu += compared / (1e9 * self.costs.search_gflops)
        size = vectors * residual_bytes(settings.bits, width) + 4 * centroids * width + 8 * self.counts.passages
        return cpu + accelerator, accelerator, size, PROCESS + max(5 * sampled * width, 12 * vectors)

    def _centroids(self, name: str) -> int:
        return self.experiment.index_of(name).residual.centroids or usual_centroids(int(self.counts.passages * self.work.vectors(name)))

    def _search_tokens(self, name: str, part: str | None) -> tuple[float, float, float, float]:
        """MaxSim with all vectors, or with centroids first and then with those of the best passages."""
        queries, writing, disk = self._runs(part)
        settings, each, asked = self.experiment.index_of(name).residual, self.work.vectors(name), self.work.query_vectors(name)
        if settings is None:
            compared = 2 * queries * asked * self.counts.passages * each * self.work.width(name)
            cpu = self.costs.start_light + writing + compared / (1e9 * self.costs.search_gflops)
            return cpu, 0, disk, PROCESS + 2 * 65_536 * 4 * (self.work.width(name) + 1_024) + 4 * asked * queries * self.work.width(name)
        looked = min(self.counts.passages, effort(self.experiment.evaluate.depth, settings).candidates) * each
        compared = 2 * asked * self.work.width(name) * (self._centroids(name) + looked)
        cpu = self.costs.start_light + writing + queries * compared / (1e9 * self.costs.search_gflops * GATHERED)
        return cpu, 0, disk, PROCESS + self.counts.passages * (8 + each * residual_bytes(settings.bits, self.work.width(name)))

    def _search_index(self, name: str, part: str | None) -> tuple[float, float, float, float]:
        if self.work.ragged(name):
            return self._search_tokens(name, part)
        queries, writing, disk = self._runs(part)
        width, factory = self.work.width(name), self.experiment.index_of(name).factory
        compared = 2 * queries * looked_at(factory, self.experiment.index_of(name).nprobe, self.counts.passages) * self.counts.passages * width
        # The vectors of the queries are there, so that only the exact search on a GPU needs torch.
        if self.experiment.encoding_of(name).gpus and factory == "Flat":
            accelerator = compared / (self.accelerator.peak_tflops * 1e12 * SEARCH_SHARE)
            cpu = self.costs.start_torch + writing + accelerator
            # The job holds its GPU while the processor works.
            return cpu, max(accelerator, cpu / self.experiment.encoding_of(name).threads), disk, TORCH + 3 * 65_536 * 4 * width + 300 * queries
        cpu = self.costs.start_light + writing + compared / (1e9 * self.costs.search_gflops)
        return cpu, 0, disk, PROCESS + self.counts.passages * vector_bytes(factory, width) + 300 * queries

    def _score_teacher(self, student: str) -> tuple[float, float, float, float]:
        block = self.experiment.models[student]
        pairs, cpu, accelerator, weights = self.work.teacher_pairs(student), self.costs.start_torch, 0.0, 0.0
        # What hands on scores from a file computes nothing.
        for teacher in [name for name in teachers_of(block).values() if self.experiment.system(name).scores]:
            shape = self.work.shape(teacher)
            own, other = self._compute(pairs * self.work.scoring(teacher), shape.hidden, False, min(1, block.gpus))
            cpu, accelerator, weights = cpu + own, accelerator + other, max(weights, 4 * shape.parameters())
            cpu += min(self.counts.passages, pairs) * self.counts.words * self.costs.tokenize_word
        return cpu, accelerator, 8 * pairs, TORCH + weights + 200 * MIB + 24 * self.counts.passages + 700 * self.counts.queries.get("train", 0)

    def _rerank(self, name: str) -> tuple[float, float, float, float]:
        block = self.experiment.system(name)
        sorter = block.sorter(name)
        shape, (queries, writing, disk) = self.work.shape(sorter), self._runs()
        pairs = queries * min(block.rerank_depth, self.experiment.evaluate.depth, self.counts.passages)
        cpu, accelerator = self._compute(pairs * self.work.scoring(sorter), shape.hidden, False, min(1, block.gpus))
        cpu += self.costs.start_torch + writing + min(self.counts.passages, pairs) * self.counts.words * self.costs.tokenize_word
        return cpu, accelerator, disk, TORCH + 4 * shape.parameters() + 200 * MIB + 24 * queries * self.experiment.evaluate.depth + 8 * self.counts.passages

    def _fuse(self, name: str, part: str | None) -> tuple[float, float, float, float]:
        block = self.experiment.models[name]
        _, writing, disk = self._runs(part)
        return self.costs.start_light + (1 + len(block.of)) * writing, 0, disk, PROCESS + 40 * MIB + 8 * self.counts.passages

    def _evaluate(self, _: str) -> tuple[float, float, float, float]:
        lines = sum(self.counts.queries.get(split, 0) for split in self.experiment.evaluate.splits) * self.experiment.evaluate.depth
        lines *= len(self.experiment.evaluate.systems)
        # At most: passages behind the first with an answer are not read.
        reading = lines * self.counts.words * ANSWER_WORD if any(map(by_answers, self.experiment.evaluate.metrics)) else 0
        return self.costs.start_light + lines * self.costs.judged_line + reading, 0, lines / self.experiment.evaluate.depth * 120, PROCESS
