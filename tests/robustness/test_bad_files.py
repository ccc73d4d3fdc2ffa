"""Every file that one station writes and another reads, damaged or foreign: one sentence, exit code 2, nothing changed."""

# ruff: noqa: E501 - one case a line reads as a table

from __future__ import annotations

import json
import math

import pytest
from damage import both, copy, cut, described_anew, entry, flip, line, parquet, remove, write, zeros

C = ["--config", "config.yaml"]
TRAIN = {name: ["train", *C, "--model", name] for name in ("base", "simlm", "retriever", "reranker", "student")}
ENCODE, BUILD, SEARCH = (["encode", *C, "--model", "student"], ["build-index", *C, "--model", "student"], ["search-index", *C, "--model", "student"])
MINE = ["mine-negatives", *C, "--model", "bm25"]
WEIGHTS, OTHER_WEIGHTS = "models/student/model.safetensors", "models/simlm/model.safetensors"
SHARD = "embeddings/student/2-of-2"
NEGATIVES, SCORES, RUN = "negatives/bm25.parquet", "teacher_scores/student.parquet", "runs/bm25/train.parquet"
ARROW = "corpus/passages/data-00000-of-00001.arrow"
DEEP = "[" * 100_000
DIGITS = '{"a": ' + "1" * 5000 + "}"


def last_of_lists(value):
    """A column change: the first query's list ends with another value."""
    return lambda column: [[*column[0][:-1], value], *column[1:]]


def first(value):
    """A column change: the first query has another value."""
    return lambda column: [value, *column[1:]]


def drop_weight(place) -> None:
    """Weights without one tensor, described as if they were right."""
    from safetensors.torch import load_file, save_file

    file = place.paths.root / WEIGHTS
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if "attention.self.query.weight" in name))
    save_file(tensors, file, metadata={"format": "pt"})


def pickled_vectors(place) -> None:
    """An array of Python objects in place of the vectors."""
    import numpy as np

    np.save(place.paths.root / f"{SHARD}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def other_words(place) -> None:
    """A folder outside the graph whose words have other numbers."""
    import shutil

    folder = place.root / "foreign"
    shutil.copytree(place.paths.model("base"), folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    file.write_text(json.dumps(content))
    text = (place.root / "config.yaml").read_text()
    (place.root / "config.yaml").write_text(text.replace("generator: base", "generator: ./foreign"))


CASES = {
    # corpus
    "corpus manifest truncated": (cut("corpus/manifest.json"), ["index-bm25", *C], ["corpus/manifest.json is truncated", "simlm prepare-corpus"]),
    "corpus manifest is a list": (write("corpus/manifest.json", "[]"), ["index-bm25", *C], ["corpus/manifest.json", "not an object"]),
    "corpus manifest nested a hundred thousand times": (write("corpus/manifest.json", DEEP), ["index-bm25", *C], ["corpus/manifest.json is truncated"]),
    "corpus manifest with a number of five thousand digits": (write("corpus/manifest.json", DIGITS), ["index-bm25", *C], ["corpus/manifest.json", "again"]),
    "corpus manifest without a count": (entry("corpus/manifest.json", "passages", "count", ...), ["search-bm25", *C], ["it has no 'passages.count'"]),
    "corpus manifest counts in words": (entry("corpus/manifest.json", "passages", "bytes", "many"), ENCODE, ["'passages.bytes' is of type str instead of int"]),
    "corpus manifest with a wrong split": (entry("corpus/manifest.json", "splits", "dev", None), ["search-bm25", *C], ["what the split 'dev' holds"]),
    "passages truncated": (cut(ARROW), ["index-bm25", *C], ["arrow is truncated", "simlm prepare-corpus"]),
    "passages are zeros": (zeros(ARROW), ["train-tokenizer", *C], ["arrow", "again"]),
    "passages gone": (remove(ARROW), TRAIN["base"], ["arrow is missing"]),
    "queries without a tab": (line("corpus/queries/dev.tsv", 3, "q42 no tab"), ["search-bm25", *C], ["dev.tsv:3 is not 'id, tab, text'"]),
    "queries in Latin-1": (line("corpus/queries/dev.tsv", 4, "q43\tgr\xf6\xdfe", "latin-1"), SEARCH, ["dev.tsv:4 is not UTF-8"]),
    "queries with a line missing": (line("corpus/queries/test.tsv", 2, None), SEARCH, ["test.tsv holds 9 queries but the manifest says 10"]),
    "judgements with a column missing": (line("corpus/qrels/train.qrels", 5, "q4 0 p4"), MINE, ["train.qrels:5 is not a judgement"]),
    "judgements of an unknown passage": (line("corpus/qrels/train.qrels", 5, "q4 0 nobody 1"), MINE, ["no passage with the id 'nobody'"]),
    "judgements with a huge grade": (line("corpus/qrels/test.qrels", 1, f"q50 0 p50 {10**30}"), ["evaluate", *C], ["test.qrels:1 is not a judgement"]),
    # tokenizer
    "tokenizer truncated": (cut("tokenizer/tokenizer.json"), TRAIN["base"], ["tokenizer does not hold a tokenizer"]),
    "tokenizer gone": (remove("tokenizer/tokenizer.json"), TRAIN["base"], ["tokenizer"]),
    "tokenizer manifest gone": (remove("tokenizer/manifest.json"), TRAIN["base"], ["tokenizer/manifest.json does not exist"]),
    # BM25
    "BM25 manifest is another one": (copy("corpus/manifest.json", "bm25/manifest.json"), ["search-bm25", *C], ["not the manifest of a BM25 index"]),
    "BM25 with an unknown analyzer": (entry("bm25/manifest.json", "analyzer", "stemed"), ["search-bm25", *C], ["'stemed', which does not exist"]),
    "BM25 index truncated": (cut("bm25/data.csc.index.npy"), ["search-bm25", *C], ["data.csc.index.npy has 508 bytes instead of 848"]),
    "BM25 words are zeros": (zeros("bm25/vocab.index.json"), ["search-bm25", *C], ["bm25 is damaged", "simlm index-bm25"]),
    "BM25 array is zeros": (zeros("bm25/indptr.csc.index.npy"), ["search-bm25", *C], ["bm25 is damaged"]),
    "BM25 of another corpus": (entry("bm25/manifest.json", "corpus_sha256", "0" * 64), ["search-bm25", *C], ["made from another corpus"]),
    # runs
    "training run truncated": (cut(RUN), MINE, ["train.parquet is truncated or not Parquet"]),
    "training run is a text": (copy("runs/bm25/test.trec", RUN), MINE, ["not Parquet"]),
    "training run is a list of negatives": (copy(NEGATIVES, RUN), MINE, ["not a run of the training split", "positives"]),
    "training run with a changed page": (flip(RUN, 0.1), MINE, ["train.parquet", "again"]),
    "training run with a null query": (parquet(RUN, query_id=first(None)), MINE, ["its column 'query_id' holds nulls"]),
    "training run with a null passage": (parquet(RUN, passages=last_of_lists(None)), MINE, ["train.parquet"]),
    "training run of other rows": (parquet(RUN, passages=last_of_lists(99_999)), MINE, ["names row 99999", "60 passages"]),
    "run cut in a line": (cut("runs/bm25/test.trec", 0.503), ["evaluate", *C], ["test.trec:", "truncated"]),
    "run names a passage twice": (line("runs/bm25/test.trec", 2, "q50 Q0 p50 2 1.0 bm25"), ["evaluate", *C], ["test.trec:2", "listed twice"]),
    "run with a score that is no number": (line("runs/bm25/test.trec", 3, "q50 Q0 p1 3 nan bm25"), ["evaluate", *C], ["test.trec:3", "not a number"]),
    "run in Latin-1": (line("runs/bm25/test.trec", 2, "q50 Q0 \xe9 2 1.0 bm25", "latin-1"), ["evaluate", *C], ["test.trec:2 is not UTF-8"]),
    "run of other queries": (write("runs/bm25/test.trec", "x Q0 p1 1 1.0 bm25\n"), ["evaluate", *C], ["none of the run's queries is judged"]),
    "run names an unknown passage": (line("runs/bm25/test.trec", 1, "q50 Q0 who 1 99.0 bm25"), ["fuse", *C, "--model", "fusion"], ["no passage with the id 'who'"]),
    "run of another split": (copy("runs/bm25/dev.trec", "runs/bm25/test.trec"), ["rerank", *C, "--model", "reranker"], ["query 'q40' that its split does not have"]),
    "run gone": (remove("runs/bm25/test.trec"), ["rerank", *C, "--model", "reranker"], ["test.trec does not exist; run simlm search-bm25"]),
    # negatives
    "negatives truncated": (cut(NEGATIVES), TRAIN["retriever"], ["bm25.parquet is truncated or not Parquet"]),
    "negatives are teacher scores": (copy(SCORES, NEGATIVES), TRAIN["retriever"], ["not a file of negatives"]),
    "negatives list a positive": (parquet(NEGATIVES, negatives=last_of_lists(0)), TRAIN["retriever"], ["lists one of its positives as a negative"]),
    "negatives of other rows": (parquet(NEGATIVES, negatives=last_of_lists(60)), TRAIN["reranker"], ["passages that the corpus does not have"]),
    "negatives of an unknown query": (parquet(NEGATIVES, query_id=first("who")), TRAIN["retriever"], ["no training query 'who'"]),
    "negatives gone": (remove(NEGATIVES), TRAIN["student"], ["bm25.parquet does not exist"]),
    # teacher scores
    "teacher scores truncated": (cut(SCORES), TRAIN["student"], ["student.parquet is truncated or not Parquet"]),
    "teacher scores are negatives": (copy(NEGATIVES, SCORES), TRAIN["student"], ["not a list of teacher scores"]),
    "teacher score that is no number": (parquet(SCORES, scores=last_of_lists(math.nan)), TRAIN["student"], ["is not a number", "simlm score-teacher"]),
    "teacher score missing": (parquet(SCORES, scores=lambda lists: [lists[0][:-1], *lists[1:]]), TRAIN["student"], ["passages but"]),
    "teacher scores of other queries": (parquet(SCORES, query_id=lambda names: [f"x{name}" for name in names]), TRAIN["student"], ["has no scores of this training's queries"]),
    # model
    "weights truncated": (cut(WEIGHTS), ENCODE, ["model.safetensors is truncated"]),
    "weights with a changed byte": (flip(WEIGHTS), ENCODE, ["its sha256 differs", "simlm train --model student"]),
    "weights of another model": (copy(OTHER_WEIGHTS, WEIGHTS), SEARCH, ["model.safetensors"]),
    "weights that are no safetensors": (
        both(write(WEIGHTS, b"PK\3\4" + bytes(9000)), described_anew("models/student", "simlm.json", "model.safetensors", "weights")), ENCODE,
        ["student does not hold a model"],
    ),
    "weights without a tensor": (
        both(drop_weight, described_anew("models/student", "simlm.json", "model.safetensors", "weights")), ENCODE, ["lacks 1 weights of its encoder"],
    ),
    "start with a changed byte": (flip("models/base/model.safetensors"), TRAIN["retriever"], ["its sha256 differs", "simlm train --model base"]),
    "teacher with a changed byte": (flip("models/reranker/model.safetensors"), ["score-teacher", *C, "--model", "student"], ["its sha256 differs"]),
    "simlm.json is a list": (write("models/student/simlm.json", "[1]"), ENCODE, ["not the manifest of a model"]),
    "simlm.json without lengths": (entry("models/student/simlm.json", "lengths", {}), ENCODE, ["lacks the lengths"]),
    "simlm.json with a length of nothing": (entry("models/reranker/simlm.json", "lengths", "pair", 0), ["rerank", *C, "--model", "reranker"], ["gives 0 as"]),
    "simlm.json of another kind": (copy("models/simlm/simlm.json", "models/student/simlm.json"), ENCODE, ["model.safetensors is"]),
    "config.json truncated": (cut("models/student/config.json"), ENCODE, ["config.json cannot be read"]),
    "config.json of another model": (entry("models/student/config.json", "hidden_size", 32), ENCODE, ["belong to different models"]),
    "model without words": (both(remove("models/student/tokenizer.json"), remove("models/student/tokenizer_config.json")), ENCODE, ["holds no tokenizer"]),
    "model for other words": (other_words, TRAIN["simlm"], ["./foreign has another vocabulary than the experiment", "tokenizer.init"]),
    # embeddings
    "vectors truncated": (cut(f"{SHARD}.npy"), BUILD, ["2-of-2.npy is truncated"]),
    "vectors with a changed byte": (flip(f"{SHARD}.npy"), BUILD, ["its sha256 differs"]),
    "vectors pickled": (both(pickled_vectors, described_anew("embeddings/student", "2-of-2.json", "2-of-2.npy", "vectors")), BUILD, ["not an array of vectors"]),
    "vectors of another model": (entry("embeddings/student/2-of-2.json", "model_sha256", "0" * 64), BUILD, ["shard 2 was embedded with another model"]),
    "vectors of a model that was trained again": (
        both(*(entry(f"embeddings/student/{i}-of-2.json", "model_sha256", "0" * 64) for i in (1, 2))), BUILD, ["another model than the 'student'"],
    ),
    "vectors' manifest is another one": (copy("index/student/manifest.json", f"{SHARD}.json"), BUILD, ["not the manifest of an embedded shard"]),
    "vectors' manifest points elsewhere": (entry(f"{SHARD}.json", "vectors", "file", "../../../../../etc/passwd"), BUILD, ["embeddings/student/passwd"]),
    "shard missing": (remove("embeddings/student/2-of-2.json"), BUILD, ["2-of-2.json does not exist; run simlm encode --model student --shard 2"]),
    # index
    "index truncated": (cut("index/student/index.faiss"), SEARCH, ["index.faiss is truncated"]),
    "index with a changed byte": (flip("index/student/index.faiss"), SEARCH, ["its sha256 differs", "simlm build-index"]),
    "index that is none": (
        both(zeros("index/student/index.faiss"), described_anew("index/student", "manifest.json", "index.faiss", "file")), SEARCH, ["index.faiss is damaged"],
    ),
    "index of another corpus": (entry("index/student/manifest.json", "corpus_sha256", "0" * 64), SEARCH, ["built from another corpus"]),
    "index manifest is another one": (copy("bm25/manifest.json", "index/student/manifest.json"), SEARCH, ["not the manifest of an index"]),
    "index asked by hand": (cut("index/student/index.faiss"), ["search", "swap", "rows", *C], ["index.faiss has 2,331 bytes instead of 3,885"]),
    # metrics and tables
    "values per query truncated": (cut("evaluation/student/test.per_query.tsv", 0.5), ["compare-systems", *C], ["test.per_query.tsv is truncated"]),
    "values of other queries": (copy("evaluation/student/dev.per_query.tsv", "evaluation/student/test.per_query.tsv"), ["compare-systems", *C], ["about other queries"]),
    "values that are no numbers": (line("evaluation/bm25/dev.per_query.tsv", 2, "q40\tx\ty\tz"), ["compare-systems", *C], ["dev.per_query.tsv is truncated or not"]),
    "values in Latin-1": (line("evaluation/bm25/dev.per_query.tsv", 3, "q\xe9\t1\t1\t1", "latin-1"), ["compare-systems", *C], ["dev.per_query.tsv:3 is not UTF-8"]),
    "table truncated": (cut("metrics.tsv", 0.49), ["summary", *C], ["metrics.tsv is truncated or foreign"]),
    "table is another one": (copy("evaluation/comparisons.tsv", "metrics.tsv"), ["report", *C], ["metrics.tsv is truncated or foreign"]),
    "table of all experiments": (cut("metrics.tsv", 0.49), ["compare"], ["metrics.tsv is truncated or foreign"]),
    # records, curves, the mirror's list
    "record truncated": (cut("stages/train.student.json"), ["track", *C], ["train.student.json is not what its stage wrote", "run the stage train.student again"]),
    "record is a list": (write("stages/evaluate.json", "[]"), ["report", *C], ["evaluate.json is not what its stage wrote"]),
    "record without a key": (entry("stages/evaluate.json", "key", ...), ["track", *C], ["it has no 'key'"]),
    "record with a time that is none": (entry("stages/evaluate.json", "start", "yesterday"), ["track", *C], ["'start' is 'yesterday', which is no time"]),
    "curve without steps": (line("training/student.history.jsonl", 2, '{"loss": 1.0}'), ["track", *C], ["student.history.jsonl:2", "no step"]),
    "list of mirrored runs truncated": (write("mlflow.json", '{"complete": tr'), ["ui", *C], ["mlflow.json is truncated"]),
    "list of mirrored runs is a list": (write("mlflow.json", "[]"), ["ui", *C], ["mlflow.json is not the list of mirrored runs"]),
}  # fmt: skip


@pytest.fixture
def ready(place):
    """What only some cases need: a store that `simlm ui` finds, and a model that starts outside the graph."""
    (place.root / "results" / "mlflow.db").touch()
    (place.paths.root / "mlflow.json").write_text("{}")
    text = (place.root / "config.yaml").read_text()
    outside = "  outside: {kind: biencoder, init: ./results/tiny/models/base, negatives: bm25, steps: 2, batch_size: 4, hard_negatives: 2}\n"
    (place.root / "config.yaml").write_text(text.replace("  fusion:\n", f"{outside}  fusion:\n"))
    return place


@pytest.mark.parametrize(("damage", "command", "fragments"), CASES.values(), ids=CASES)
def test_is_refused(ready, refused, damage, command, fragments):
    damage(ready)
    sentence = refused(ready, *command)
    for fragment in fragments:
        assert fragment in sentence, sentence
