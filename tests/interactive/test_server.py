"""The real server on a free port, with real (random) models and a hostile passage."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from html.parser import HTMLParser
from urllib.parse import urlencode

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from searchable_experiment import PASSAGES

from simlm.cli import main
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.interactive.passage_map import make_map
from simlm.interactive.server import make_server
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives
from simlm.vectors.shards import Shards


@pytest.fixture
def server(searchable):
    threads = torch.get_num_threads()
    options = ["--experiment", "tiny", "--results", str(searchable.paths.root.parent), "--model", "distilled"]
    assert main(["encode", *options]) == 0
    assert main(["build-index", *options]) == 0
    server = make_server(searchable, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    torch.set_num_threads(threads)


def get(server, path, fields=None, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Host": host or f"127.0.0.1:{server.port}"}
    connection.request(method, path + ("?" + urlencode(fields) if fields else ""), headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


class Tags(HTMLParser):
    """Collects what a browser would see: open tags, and the text of the hits."""

    def __init__(self, body):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(body)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]


def test_the_page_compares_two_systems_and_escapes_texts(server):
    response, empty = get(server, "/")
    assert response.status == 200
    assert "swap two columns" in empty  # an example of the main split
    assert "invert &lt;b&gt;matrix&lt;/b&gt;" in empty
    response, page = get(server, "/", {"q": "long tail", "left": "bm25", "right": "distilled", "k": "50"})
    assert response.status == 200
    assert "&lt;script&gt;" in page
    parsed = Tags(page)
    assert parsed.tags.count("script") == 1
    assert "b" not in parsed.tags
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert "\x1b" not in page
    assert re.search(r"right: rank \d+", page)
    assert "1 passage in both lists" in page
    assert '<p class="asked">long tail</p>' in page, "on paper there is no field that shows the query"
    # nothing comes from elsewhere
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([^']+)'", response.headers["Content-Security-Policy"])[1]
    assert page.count(f'nonce="{nonce}"') == 2
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_hostile_query_is_escaped(server):
    query = '"><script>alert(1)</script>'
    _, page = get(server, "/", {"q": query})
    assert query not in page
    assert Tags(page).tags.count("script") == 1


def test_relevant_passages_of_a_judged_query_are_marked(server):
    _, page = get(server, "/", {"q": "swap two columns", "k": "100", "left": "distilled", "right": "distilled"})
    assert "A judged query of the split test" in page
    assert "in both lists" not in page
    assert page.count("✓ relevant") == 3  # once in the explanation, once in each full list


def test_json_equals_the_command(server, searchable, capsys):
    response, body = get(server, "/api/search", {"system": "bm25", "q": "swap columns", "k": "3"})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    answer = json.loads(body)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert answer["hits"][0]["text"]
    capsys.readouterr()
    main(["search", "--experiment", "tiny", "--results", str(searchable.paths.root.parent), "--system", "bm25", "-k", "3", "--json", "swap", "columns"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["hits"] == answer["hits"]
    assert printed.keys() == answer.keys()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"system": "bm52", "q": "x"}, "no system of 'tiny' is called 'bm52'; did you mean 'bm25'?"),
        ({"system": "base", "q": "x"}, "'base' is of kind mlm, which does not retrieve"),
        ({"system": "bm25", "q": " "}, "the query is empty"),
        ({"system": "bm25"}, "the query is empty"),
        ({"system": "bm25", "q": "y" * 1001}, "the query has 1,001 characters; give at most 1,000"),
        ({"system": "bm25", "q": "x", "k": "0"}, "k is 0; ask for 1 to 100"),
        ({"system": "bm25", "q": "x", "k": "ten"}, "k is 'ten', which is not a number"),
        ({"system": "second", "q": "x"}, "run simlm train --model second first"),
        ({"sytem": "bm25", "q": "x"}, "unknown parameter 'sytem'"),
    ],
)
def test_mistakes_give_one_sentence(server, fields, sentence):
    response, body = get(server, "/api/search", fields)
    assert response.status == 400
    assert sentence in json.loads(body)["error"]
    if "q" in fields and "sytem" not in fields:
        side = {**fields, "left": fields["system"]}
        response, page = get(server, "/", side)
        assert response.status == (200 if not fields["q"].strip() else 400)
        assert len(page) < 200_000


def test_one_side_fails_and_the_other_answers(server):
    response, page = get(server, "/", {"q": "swap", "left": "second", "right": "bm25"})
    assert response.status == 400
    assert "simlm train --model second" in page
    assert page.count('class="hit') >= 5


def test_an_unknown_side_is_said_and_nothing_is_shown_under_its_name(server):
    for fields in ({"left": "nope"}, {"left": "nope", "q": "swap", "right": "bm25"}):
        response, page = get(server, "/", fields)
        assert response.status == 400
        assert "no system of &#39;tiny&#39; is called &#39;nope&#39;" in page
        assert "<option selected>nope</option>" in page
        assert 'data-side="0"' not in page
    assert 'data-side="1"' in page


def test_the_best_system_stands_first(server, searchable):
    rows = [f"{system}\ttest\tRR@10\t{value:.6f}\t0.0\t1.0\t3" for system, value in (("bm25", 0.4), ("fusion", 0.9), ("distilled", 0.5))]
    searchable.paths.metrics_table.write_text("\n".join(["system\tsplit\tmetric\tvalue\tci_low\tci_high\tn_queries", *rows]) + "\n")
    try:
        other = make_server(searchable, 0)
        other.server_close()
        assert other.order[:3] == ["fusion", "distilled", "bm25"]
        assert other.sides == ("fusion", "distilled")
    finally:
        searchable.paths.metrics_table.unlink()


def test_a_browser_sees_the_page_before_a_model_is_loaded(server, monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(server.systems, "_dense", lambda system: asked.wait(60))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/?q=swap&left=distilled&right=bm25", headers={"Host": f"127.0.0.1:{server.port}", "Sec-Fetch-Mode": "navigate"})
    response = connection.getresponse()
    page = response.read().decode()
    asked.set()
    assert response.status == 200
    assert "Loading distilled and bm25" in page
    assert 'http-equiv="refresh"' in page


def test_the_models_are_loaded_once_the_first_page_is_there(server):
    assert not server._warm
    get(server, "/")
    for _ in range(600):
        if server.systems.is_open("distilled"):
            break
        time.sleep(0.1)
    assert server.systems.is_open("distilled")


def test_the_rank_of_the_relevant_passage_of_a_judged_query(server, searchable):
    relevant = searchable_id(searchable, "find numbers")
    hits = json.loads(get(server, "/api/search", {"system": "bm25", "q": "find numbers", "k": "50"})[1])["hits"]
    rank = next(hit["rank"] for hit in hits if hit["id"] == relevant)
    _, page = get(server, "/", {"q": "find numbers", "left": "bm25", "right": "distilled", "k": "5"})
    assert f"first relevant passage: rank {rank}<" in page
    assert page.count('data-side="0"') == 5
    assert "first relevant passage" not in get(server, "/", {"q": "unjudged words", "left": "bm25", "right": "bm25"})[1]


def searchable_id(context, text):
    store = CorpusStore(context.paths.corpus)
    query = next(query for query, own in store.queries("test").items() if own == text)
    return next(iter(store.qrels("test")[query]))


def test_what_a_training_saw(server, searchable, monkeypatch):
    """One negative that the teacher prefers to the positive, one that it does not, one that the training never visits."""
    student = searchable.experiment.models["distilled"].model_copy(update={"teacher": "reranker"})
    monkeypatch.setitem(searchable.experiment.models, "distilled", student)
    hostile = PASSAGES - 1
    queries = [MinedQuery("train0", np.array([0]), np.array([3, hostile, 5])), MinedQuery("train1", np.array([1]), np.array([4]))]
    write_negatives(searchable.paths.negatives("bm25"), queries, {}, MiningCounts(queries=2))
    scores = {"query_id": ["train0", "train1"], "passages": [[0, 3, hostile], [1, 4]], "scores": [[1.0, -2.0, 3.5], [2.0, 1.0]]}
    searchable.paths.teacher_scores("distilled").parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(scores), searchable.paths.teacher_scores("distilled"))
    _, start = get(server, "/training")
    assert start.index("sort a list") < start.index("read numbers"), "the more doubtful query first: a gap of -2.5 before one of 1"
    response, page = get(server, "/training", {"model": "distilled", "id": "train0"})
    assert response.status == 200
    assert "<strong>1</strong> of 3 negatives" in page
    assert page.count("above every positive") == 1
    assert page.index("3.50") < page.index("-2.00") < page.index("not visited")
    assert "&lt;script&gt;" in page
    assert Tags(page).tags.count("script") == 1
    assert "train0" in get(server, "/training", {"words": "sort list"})[1]
    searchable.paths.teacher_scores("distilled").write_bytes(b"PAR1 no list PAR1")
    for fields in ({}, {"model": "distilled", "id": "train0"}):
        response, page = get(server, "/training", fields)
        assert response.status == 400
        assert "distilled.parquet is damaged or no list of ours" in page
    for fields, sentence in (({"id": "nope"}, "there is no training query"), ({"model": "distiled"}, "did you mean"), ({"id": "train2"}, "is not in")):
        response, page = get(server, "/training", fields)
        assert response.status == 400
        assert sentence in page


def test_the_map_is_the_two_largest_principal_components(server, searchable):
    found = make_map(searchable.experiment, searchable.paths, CorpusStore(searchable.paths.corpus), "distilled")
    vectors = Shards(searchable.paths.embeddings("distilled"), 2).take(found.rows).values.astype(np.float64)
    variances = np.sort(np.linalg.eigvalsh(np.cov(vectors.T)))[::-1]
    assert found.kept == pytest.approx(variances[:2].sum() / variances.sum(), rel=1e-4)
    flat = found.places * (found.high - found.low)
    assert np.var(flat[:, 0], ddof=1) == pytest.approx(variances[0], rel=1e-4)
    assert abs(np.corrcoef(flat.T)[0, 1]) < 1e-3
    assert found.place(vectors) == pytest.approx(found.places, abs=1e-4)
    response, page = get(server, "/map", {"q": "swap two columns"})
    assert response.status == 200
    assert page.count('class="dot') == PASSAGES
    assert page.count("lit-dot") == 10 + 1  # and its style
    assert "&lt;script&gt;" in page
    assert "no evaluated model with vectors is called" in get(server, "/map", {"model": "bm25"})[1]


def test_foreign_hosts_other_paths_and_methods_are_refused(server):
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1:1", f"127.0.0.1:{server.port}.evil.example"):
        assert get(server, "/", host=host)[0].status == 403
        assert get(server, "/api/search", {"system": "bm25", "q": "swap"}, host=host)[0].status == 403
    assert get(server, "/", host=f"localhost:{server.port}")[0].status == 200
    assert get(server, "/page.html")[0].status == 404
    assert get(server, "/../../etc/passwd")[0].status == 404
    assert get(server, "/favicon.ico")[0].status == 204
    assert get(server, "/", method="POST")[0].status == 501
    response, body = get(server, "/", method="HEAD")
    assert response.status == 200
    assert body == ""
    assert server.server_address[0] == "127.0.0.1"


def test_many_visitors_get_the_same_answer(server):
    server.warm_up()
    bodies, fields = [], {"system": "fusion", "q": "swap two columns"}

    def ask():
        answer = json.loads(get(server, "/api/search", fields)[1])
        bodies.append(json.dumps(answer["hits"]))

    visitors = [threading.Thread(target=ask) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len(bodies) == 8
    assert len(set(bodies)) == 1


def test_three_hundred_at_once_are_all_answered(server, monkeypatch):
    """All connections are opened before the first is accepted, which fills the list of those that wait."""
    asked = f"GET /api/search?system=fusion&q=swap HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode()
    assert get(server, "/api/search", {"system": "fusion", "q": "swap"})[0].status == 200
    free = threading.Event()
    monkeypatch.setattr(server, "process_request", lambda *arguments: (free.wait(60), type(server).process_request(server, *arguments)))
    visitors = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(300)]
    for visitor in visitors:
        visitor.sendall(asked)
    free.set()
    answers = []
    for visitor in visitors:
        with visitor, visitor.makefile("rb") as stream:
            answers.append(stream.readline())
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 300


@pytest.mark.slow
def test_many_requests_leave_memory_flat(server):
    def ask(times):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(times):
            if number % 20 == 0:
                connection.close()
            connection.request("GET", "/api/search?system=fusion&q=swap+columns", headers={"Host": f"127.0.0.1:{server.port}"})
            assert json.loads(connection.getresponse().read())["hits"]
        connection.close()

    def crowd(each):
        threads = [threading.Thread(target=ask, args=(each,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    crowd(20)
    before = psutil.Process().memory_info().rss
    crowd(100)
    assert psutil.Process().memory_info().rss - before < 8 * 2**20


def test_the_page_and_other_systems_answer_while_a_model_is_loaded(server, monkeypatch):
    loading, loaded, dense = threading.Event(), threading.Event(), server.systems._dense

    def slow(system):
        loading.set()
        assert loaded.wait(60)
        return dense(system)

    monkeypatch.setattr(server.systems, "_dense", slow)
    server.warm_up()
    try:
        assert loading.wait(30)
        assert get(server, "/")[0].status == 200
        assert get(server, "/", {"q": "swap", "left": "bm25", "right": "bm25"})[0].status == 200
        assert json.loads(get(server, "/api/search", {"system": "bm25", "q": "swap"})[1])["hits"]
    finally:
        loaded.set()
    assert json.loads(get(server, "/api/search", {"system": "distilled", "q": "swap"})[1])["hits"]


def test_a_taken_port_and_an_unknown_side_are_one_sentence(searchable, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ["--experiment", "tiny", "--results", str(searchable.paths.root.parent)]
        assert main(["serve", *options, "--port", str(port)]) == 2
        assert f"port {port} is in use; choose another with --port" in capsys.readouterr().err
    with pytest.raises(UserError, match="port 99999 cannot be opened"):
        make_server(searchable, 99999)
    with pytest.raises(UserError, match="did you mean 'fusion'"):
        make_server(searchable, 0, left="fusoin")
