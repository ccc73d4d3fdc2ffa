"""Whatever bytes a file holds: a parser returns what is written there, or raises the one error with its place."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_world import CONFIGURATION

from simlm.config import load_experiment, validate
from simlm.config.corpora import BeirFolder
from simlm.config.experiment import Experiment
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.qrels import read_qrels
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError, one_line
from simlm.files import read_manifest
from simlm.runs.runs import Ranking, read_run, read_trec_run, write_trec_run

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=8).filter(lambda text: text.split() == [text])
"""Ids as TREC files can hold them: any script, emoji too."""

PIECES = st.sampled_from(["q1", "0", "Q0", "d1", "1", "-1", "nan", "1e400", "inf", "\t", " ", "\n", "\r\n", "\0", "\ufeff", "score", "é", "א", "🙂", "9" * 30])
LINES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(lambda parts: "".join(parts).encode()))

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parsers")


def outcome(read, place: str):
    """What ``read`` returns, or None if it refuses with a sentence that names ``place``."""
    try:
        return read()
    except UserError as error:
        sentence = str(error)
    assert place in sentence
    assert one_line(sentence).isprintable()
    return None


@quick
@given(st.dictionaries(WORDS, st.dictionaries(WORDS, st.integers(-5, 2**31 - 1), min_size=1, max_size=4), min_size=1, max_size=4))
def test_judgements_come_back(folder, qrels):
    file = folder / "good.qrels"
    file.write_text("".join(f"{query} 0 {passage} {grade}\n" for query, graded in qrels.items() for passage, grade in graded.items()), encoding="utf-8")
    assert read_qrels(file) == qrels


@quick
@given(LINES)
def test_any_judgements(folder, content):
    file = folder / "any.qrels"
    file.write_bytes(content)
    found = outcome(lambda: read_qrels(file), file.name) or {}
    assert all(query.split() == [query] and isinstance(grade, int) for query, graded in found.items() for grade in graded.values())


@quick
@given(st.lists(WORDS, min_size=1, max_size=4, unique=True), st.lists(st.floats(width=64, allow_nan=False), min_size=1, max_size=6), st.randoms())
def test_runs_come_back(folder, queries, scores, random):
    passages = [(f"p{i}", "", f"text {i}") for i in range(6)]
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus", passages, {"test": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    store, file = CorpusStore(folder / "corpus"), folder / "good.trec"
    rows = np.array(random.sample(range(6), len(scores)), np.int32)
    write_trec_run(file, [Ranking(query, rows, np.array(scores)) for query in queries], store, tag="x")
    for query, ranking in zip(queries, read_run(file, store)):
        assert ranking.query_id == query
        assert sorted(zip(ranking.passages.tolist(), ranking.scores.tolist())) == sorted(zip(rows.tolist(), scores))
        assert all(one >= two for one, two in zip(ranking.scores, ranking.scores[1:]))


@quick
@given(LINES)
def test_any_run(folder, content):
    file = folder / "any.trec"
    file.write_bytes(content)
    found = outcome(lambda: list(read_trec_run(file)), file.name) or []
    assert not any(np.isnan(ranking.scores).any() or len(set(ranking.ids)) < len(ranking.ids) for ranking in found)


@quick
@given(
    st.binary(max_size=120)
    | st.lists(st.sampled_from(["q0\tx", "q1", "\t", "q2\t", "q3\té\u2028z", "\x85", "q4\ty\tz"]), max_size=5).map(lambda lines: "\n".join(lines).encode())
)
def test_any_queries(folder, content):
    place = folder / "queries"
    if not place.exists():
        write_corpus(place, [("p0", "", "x")], {"test": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    file = place / "queries" / "test.tsv"
    file.write_bytes(content)
    found = outcome(lambda: CorpusStore(place).queries("test"), "test.tsv")
    assert found is None or len(found) == 1
    assert found is None or all(text.strip() and "\n" not in text for text in found.values())


@quick
@given(
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"_id": WORDS | st.integers(), "text": st.text(max_size=20)}, optional={"title": st.none() | st.text(max_size=5)}).map(
                json.dumps
            ),
            VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)).filter(lambda text: "\\ud" not in text),
            st.text(string.printable, max_size=10),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_corpus(folder, lines):
    source, target = folder / "source", folder / "made"
    (source / "qrels").mkdir(parents=True, exist_ok=True)
    (source / "corpus.jsonl").write_text("\n".join(['{"_id": "p0", "text": "x"}', *lines]) + "\n", encoding="utf-8", errors="replace")
    (source / "queries.jsonl").write_text('{"_id": "q0", "text": "x"}\n')
    (source / "qrels" / "test.tsv").write_text("q0\tp0\t1\n")
    block = BeirFolder(source="beir", path=str(source), splits={"test": "test"})
    before = (target / "manifest.json").read_bytes() if target.exists() else None
    if outcome(lambda: prepare_corpus(block, target), "corpus.jsonl:") is None:
        assert (target / "manifest.json").read_bytes() == before if before else not target.exists()
        return
    store = CorpusStore(target)
    titles, texts = store.texts(range(len(store)))
    wanted = [json.loads(line) for line in ['{"_id": "p0", "text": "x"}', *lines] if line.strip()]
    assert store.ids(range(len(store))) == [str(passage["_id"]) for passage in wanted]
    assert texts == [passage["text"].strip() for passage in wanted]
    assert titles == [(passage.get("title") or "").strip() for passage in wanted]


@quick
@given(st.binary(max_size=200) | st.text(string.printable, max_size=100).map(str.encode) | VALUES.map(lambda value: yaml.safe_dump(value).encode()))
def test_any_configuration_file(folder, content):
    file = folder / "any.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_experiment(file)
    assert "any.yaml" in str(error.value)


def _places(values, path=()):
    yield path
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _places(value, (*path, key))


@settings(quick, max_examples=150)
@given(st.sampled_from([place for place in _places(CONFIGURATION) if place]), VALUES)
def test_any_value_anywhere(place, value):
    import copy

    values = inner = copy.deepcopy(CONFIGURATION)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert isinstance(outcome(lambda: validate(values), "configuration: "), Experiment | None)


@quick
@given(VALUES | st.fixed_dictionaries({"kind": VALUES, "file": VALUES}))
def test_any_manifest(folder, value):
    file = folder / "any.json"
    file.write_text(json.dumps(value), encoding="utf-8", errors="replace")
    found = outcome(lambda: read_manifest(file, "a manifest", "simlm make", {"kind": str, "file": {"bytes": int}}), "any.json")
    assert found is None or (isinstance(found["kind"], str) and type(found["file"]["bytes"]) is int)
