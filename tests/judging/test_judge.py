"""`simlm judge`: one model on many collections; what fails loses nothing of the others, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest

from simlm.cli import main
from simlm.errors import UserError
from simlm.judging.collections import corpus_block, experiment_of, kind_taking_over
from simlm.retrieval.encoder import TextEncoder
from simlm.retrieval.hybrid_encoder import HybridEncoder
from simlm.retrieval.token_encoder import TokenEncoder

WORDS = ["swap two columns", "invert a matrix", "sort the list", "join numbers", "read and write", "split the row", "find numpy"]


pytestmark = pytest.mark.usefixtures("threads_as_before")


def collection(folder: Path, first: int, split: str = "test") -> Path:
    (folder / "qrels").mkdir(parents=True)
    passages = [{"_id": f"d{i}", "title": "", "text": f"{WORDS[i % 7]} {WORDS[(i * 3 + 1) % 7]}"} for i in range(first, first + 30)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(WORDS)))
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{first + (5 * i) % 30}\t1\n" for i in range(7)))
    return folder


@pytest.fixture
def model(tmp_path, tiny_encoder, word_tokenizer):
    from simlm.models.folder import save_model

    save_model(tmp_path / "mine", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    return tmp_path / "mine"


def test_collections_are_judged_once_and_a_bad_one_loses_no_other(tmp_path, model, capsys):
    good, other, bad = collection(tmp_path / "good", 0), collection(tmp_path / "other", 7), collection(tmp_path / "bad", 0, split="dev")
    arguments = ["judge", "--model", str(model), "--output", str(tmp_path / "out"), "--threads", "1", "--collections", str(good)]
    assert main([*arguments, str(bad), str(other)]) == 2
    said = capsys.readouterr()
    assert "1 of 3 collections failed" in said.err.splitlines()[-1]
    assert "mean of 2" in said.out
    assert sorted(path.name[-5:] for path in (tmp_path / "out").iterdir() if path.is_dir() and path.name != "mteb") == ["-good", "other"]
    rows = [line.split("\t") for line in (tmp_path / "out" / "judged.tsv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [str(good), str(other), "mean of 2"]
    # Against ir-measures' nDCG over the runs that lie there.
    for folder, row in ((good, rows[1]), (other, rows[2])):
        experiment = next(path for path in (tmp_path / "out").iterdir() if path.name.endswith(folder.name))
        qrels = [ir_measures.Qrel(*line.split("\t")[:2], 1) for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]]
        for system, cell in (("bm25", row[2]), ("mine", row[3])):
            lines = [line.split() for line in (experiment / "runs" / system / "test.trec").read_text().splitlines()]
            run = [ir_measures.ScoredDoc(line[0], line[2], -float(line[3])) for line in lines]  # by rank: many passages have equal scores
            assert float(cell) == pytest.approx(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10], abs=1e-4)
    results = sorted((tmp_path / "out" / "mteb" / "mine").glob("*/*.json"))
    assert len(results) == 2
    about = json.loads(results[0].read_text())
    (entry,) = about["scores"]["test"]
    assert entry["main_score"] == entry["ndcg_at_10"] == pytest.approx(float(rows[1][3]), abs=1e-4)
    assert {"mrr_at_10", "recall_at_100", "map_at_1000", "hf_subset", "languages"} <= entry.keys()
    # Again: nothing runs; with the bad one mended, only its stages do.
    (bad / "qrels" / "dev.tsv").rename(bad / "qrels" / "test.tsv")
    assert main([*arguments, str(bad), str(other)]) == 0
    said = capsys.readouterr()
    ran = [line for line in said.err.splitlines() if line.startswith(str(tmp_path))]
    assert [line for line in ran if line.startswith((f"{good}: ", f"{other}: "))] == []
    assert f"{bad}: search_index.mine" in ran
    assert "mean of 3" in said.out


def test_what_a_collection_is(tmp_path):
    assert corpus_block("beir/nfcorpus", "test") == {"source": "ir_datasets", "passages": "beir/nfcorpus", "splits": {"test": "beir/nfcorpus/test"}}
    assert corpus_block("beir/arguana", "test")["splits"] == {"test": "beir/arguana"}
    assert corpus_block("BeIR/scifact@main", "test") == {"source": "hub", "id": "BeIR/scifact", "revision": "main", "splits": {"test": "test"}}
    folder = collection(tmp_path / "mine", 0)
    assert corpus_block(str(folder), "test") == {"source": "beir", "path": str(folder), "splits": {"test": "test"}}
    with pytest.raises(UserError, match=r"no judgements of 'beir/nfcorpus/tset' \(there are beir/nfcorpus/dev, beir/nfcorpus/test"):
        corpus_block("beir/nfcorpus", "tset")
    with pytest.raises(UserError, match="is no folder"):
        corpus_block("./nothing", "test")
    assert [kind_taking_over(one) for one in (TextEncoder, TokenEncoder, HybridEncoder)] == ["given_biencoder", "given_late_interaction", None]
    values = experiment_of(str(folder), "owner/late", "test", tmp_path, "given_late_interaction", {"batch_size": 8})
    assert values["models"] == {"late": {"kind": "given_late_interaction", "init": "owner/late"}}


def test_a_reranker_is_refused_before_anything_runs(searchable, tmp_path, capsys):
    folder = collection(tmp_path / "good", 0)
    where = ["--output", str(tmp_path / "out"), "--collections", str(folder)]
    assert main(["judge", "--model", str(searchable.paths.model("reranker")), *where]) == 2
    assert "does not embed" in capsys.readouterr().err
    assert main(["judge", "--model", "x", *where, str(folder)]) == 2
    assert "named twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
