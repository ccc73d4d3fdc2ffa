"""`simlm search`: every kind of system answers, quickly and in what fits the terminal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from simlm.cli import main
from simlm.config.graph import headline_system
from simlm.corpus.store import CorpusStore
from simlm.interactive.snippets import snippet
from simlm.interactive.systems import Systems
from simlm.interactive.table import print_answer
from simlm.runs.runs import read_run


@pytest.fixture
def ready(searchable):
    threads = torch.get_num_threads()
    options = ["--experiment", "tiny", "--results", str(searchable.paths.root.parent)]
    for command in ("encode", "build-index", "search-index"):
        assert main([command, *options, "--model", "distilled"]) == 0
    yield searchable
    torch.set_num_threads(threads)


def test_every_kind_answers_as_its_run_does(ready):
    options = ["--experiment", "tiny", "--results", str(ready.paths.root.parent)]
    assert main(["search-bm25", *options, "--splits", "test"]) == 0
    assert main(["rerank", *options, "--model", "reranker"]) == 0
    assert main(["fuse", *options, "--model", "fusion"]) == 0
    store, systems = CorpusStore(ready.paths.corpus), Systems(ready)
    for system in ("bm25", "distilled", "reranker", "fusion"):
        rankings = {ranking.query_id: ranking for ranking in read_run(ready.paths.run(system, "test"), store)}
        for query_id, text in store.queries("test").items():
            hits = systems.answer(system, text, 10).hits
            ranking = rankings[query_id]
            np.testing.assert_allclose([hit.score for hit in hits], ranking.scores[:10], atol=3e-6)
            by_row = dict(zip(ranking.passages.tolist(), ranking.scores.tolist()))
            np.testing.assert_allclose([by_row[row] for row in store.rows([hit.id for hit in hits])], [hit.score for hit in hits], atol=3e-6)


def test_table_fits_and_is_never_read_as_markup(ready):
    systems = Systems(ready)
    answer = systems.answer("bm25", "long tail", 5)
    for width in (40, 60, 80, 120, 200):
        stream = io.StringIO()
        print_answer(answer, stream, width)
        lines = stream.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert "\x1b" not in stream.getvalue()
        joined = "".join(stream.getvalue().split())
        assert "[bold]rich" in joined
    stream = io.StringIO()
    print_answer(systems.answer("bm25", "zzz", 5), stream)
    assert stream.getvalue() == "bm25 found no passage for this query.\n"


def test_json_of_a_query_without_quotes(ready, capsys):
    capsys.readouterr()
    options = ["--experiment", "tiny", "--results", str(ready.paths.root.parent)]
    assert main(["search", *options, "--json", "-k", "4", "swap", "two", "columns"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["system"], answer["kind"], answer["query"], len(answer["hits"])) == ("distilled", "biencoder", "swap two columns", 4)
    assert answer["hits"][0].keys() == {"rank", "score", "id", "title", "text"}


def test_the_system_that_answers_is_the_last_evaluated_retriever(searchable):
    experiment = searchable.experiment
    assert headline_system(experiment) == "distilled"
    others = experiment.evaluate.model_copy(update={"systems": ["bm25", "second", "fusion"]})
    assert headline_system(experiment.model_copy(update={"evaluate": others})) == "second"
    others = experiment.evaluate.model_copy(update={"systems": ["bm25"]})
    assert headline_system(experiment.model_copy(update={"evaluate": others})) == "bm25"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--experiment", "tyni", "x"], "no experiment is called 'tyni'"),
        (["--experiment", "tiny", "--system", "distiled", "x"], "no system of 'tiny' is called 'distiled'; did you mean 'distilled'?"),
        (["--experiment", "tiny", "--system", "base", "x"], "'base' is of kind mlm, which does not retrieve"),
        (["--experiment", "tiny", "x"], "run simlm build-index --model distilled first"),
        (["--experiment", "tiny", "--system", "second", "x"], "run simlm train --model second first"),
        (["--experiment", "tiny", " "], "the query is empty"),
        (["--experiment", "tiny", "--system", "bm25", "-k", "0", "x"], "k is 0"),
    ],
)
def test_mistakes_are_one_sentence(searchable, capsys, options, sentence):
    capsys.readouterr()
    assert main(["search", "--results", str(searchable.paths.root.parent), *options]) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert message.count("\n") == 1


def test_bm25_answers_without_torch(searchable):
    script = (
        "import sys; from simlm.cli import main; "
        f"code = main(['search', '--experiment', 'tiny', '--results', {str(searchable.paths.root.parent)!r}, '--system', 'bm25', 'swap']); "
        "sys.exit(code or [name for name in ('torch', 'transformers', 'datasets', 'faiss', 'pandas') if name in sys.modules] or 0)"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.process_time() - start < 5
    for command in ("search", "serve", "encode", "build-index", "search-index"):
        call = f"import sys; from simlm.cli import main\ntry: main([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        check = call + "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
        assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0, command


def test_snippets_show_the_words_of_the_query():
    text = "start " * 100 + "the sparse matrix here " + "end " * 100
    shown = snippet(text, "a sparse matrix", 80)
    assert "sparse matrix" in shown
    assert len(shown) <= 80
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    for width in (20, 33, 80, 500):
        for query in ("", "end", "start end", "sparse", "?"):
            assert len(snippet(text, query, width)) <= width
    assert len(snippet("x" * 1000, "x", 100)) <= 100
