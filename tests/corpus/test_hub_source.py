"""Hugging Face data sets, from local folders of the same layout, and titles by passage id."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pandas as pd
import pytest

from simlm.config.corpora import HubDataset
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.store import CorpusStore
from simlm.corpus.titles import with_titles
from simlm.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    pd.DataFrame({"_id": ["d1", "d2"], "title": ["Bread", None], "text": ["Flour.", "Salt."]}).to_parquet(folder / "corpus.parquet")
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": f"query {n}"}) + "\n" for n in range(3)))
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t2\n")
    return folder


def block(folder, **options):
    return HubDataset(source="hub", id=str(folder), **{"splits": {"train": "train", "test": "test"}, **options})


def test_a_local_folder_of_parquet_jsonl_and_tsv(folder, tmp_path):
    prepare_corpus(block(folder), tmp_path / "corpus")
    store = CorpusStore(tmp_path / "corpus")
    assert store.texts([0, 1]) == (["Bread", ""], ["Flour.", "Salt."])
    assert (store.queries("test"), store.qrels("test")) == ({"q2": "query 2"}, {"q2": {"d2": 2}})


def test_whole_numbers_as_ids_and_no_titles(folder, tmp_path):
    (folder / "corpus.parquet").unlink()
    (folder / "corpus.jsonl").write_text('{"docid": 1, "contents": "Flour."}\n{"docid": 2, "contents": "Salt."}\n')
    for split in ("train", "test"):
        (folder / f"qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq0\t2\t1\n")
    prepare_corpus(block(folder), tmp_path / "corpus")
    store = CorpusStore(tmp_path / "corpus")
    assert (store.ids([0, 1]), store.texts([1]), store.positives("test")) == (["1", "2"], ([""], ["Salt."]), {"q0": [1]})


@pytest.mark.parametrize("place", ["qrels", "data", "default"])
def test_a_downloaded_repository_of_shards(folder, tmp_path, place):
    """What the hub makes of the configurations corpus, queries and default."""
    shutil.rmtree(folder / "qrels")
    for part, number in [("corpus", 1), ("queries", 1), (place, 2)]:
        (folder / part).mkdir()
        for shard in range(number):
            rows = {
                "corpus": {"_id": ["d1", "d2"], "title": ["Bread", None], "text": ["Flour.", "Salt."]},
                "queries": {"_id": ["q0", "q2"], "text": ["query 0", "query 2"]},
                place: {"query-id": [("q2", "q0")[shard]], "corpus-id": ["d2"], "score": [1.0 + shard]},
            }[part]
            stem = part if number == 1 else "test"
            pd.DataFrame(rows).to_parquet(folder / part / f"{stem}-{shard:05d}-of-{number:05d}.parquet")
    for old in ("corpus.parquet", "queries.jsonl"):
        (folder / old).unlink()
    prepare_corpus(block(folder, splits={"test": "test"}), tmp_path / "corpus")
    assert CorpusStore(tmp_path / "corpus").qrels("test") == {"q2": {"d2": 1}, "q0": {"d2": 2}}


def test_columns_are_known_whatever_their_case(folder, tmp_path):
    (folder / "corpus.parquet").unlink()
    (folder / "corpus.tsv").write_text("DocId\tTitle\tTEXT\nd1\tBread\tFlour.\nd2\t\tSalt.\n")
    prepare_corpus(block(folder), tmp_path / "corpus")
    assert CorpusStore(tmp_path / "corpus").texts([0, 1]) == (["Bread", ""], ["Flour.", "Salt."])


def test_one_split_in_two_forms_and_none_at_all(folder, tmp_path):
    (folder / "qrels/test.csv").write_text("query-id,corpus-id,score\nq2,d1,1\n")
    with pytest.raises(UserError, match=r"holds test.csv, test.tsv: keep one form of 'test'"):
        prepare_corpus(block(folder), tmp_path / "corpus")
    (folder / "qrels/test.csv").unlink()
    (folder / "corpus.parquet").unlink()
    (folder / "corpus.tsv").write_text("d1\tFlour.\n")
    with pytest.raises(UserError, match=r"has none of the columns _id.*for its first line must name them"):
        prepare_corpus(block(folder), tmp_path / "corpus")
    (folder / "corpus.tsv").write_text("_id\ttext\nd1\tFlour.\n")
    shutil.rmtree(folder / "qrels")
    with pytest.raises(UserError, match="has no folder qrels or data or default with judgements"):
        prepare_corpus(block(folder), tmp_path / "corpus")


def test_mistakes_are_sentences(folder, tmp_path):
    with pytest.raises(UserError, match=r"has no split 'tests'; did you mean 'test'\? \(there are test, train\)"):
        prepare_corpus(block(folder, splits={"test": "tests"}), tmp_path / "corpus")
    with pytest.raises(UserError, match=r"neither docs\.\* nor files in docs/"):
        prepare_corpus(block(folder, passages="docs"), tmp_path / "corpus")
    (folder / "queries.jsonl").write_text('{"name": "q0", "text": "x"}\n')
    with pytest.raises(UserError, match="has none of the columns _id, query_id"):
        prepare_corpus(block(folder), tmp_path / "corpus")
    (folder / "queries.jsonl").write_text('{"_id": "q0", \n')
    with pytest.raises(UserError, match=r"queries.jsonl:1 is not JSON"):
        prepare_corpus(block(folder), tmp_path / "corpus")


def test_titles_are_found_by_id_in_any_order(tmp_path):
    (tmp_path / "titles").mkdir()
    rows = [{"docid": str(n), "title": "-" if n == 5 else f"Title {n}", "text": "other"} for n in range(2500, -1, -1)]
    (tmp_path / "titles/corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped: Counter[str] = Counter()
    passages = [(str(n), "", f"text {n}") for n in range(2400)] + [("x", "", "no entry")]
    titled = list(with_titles(iter(passages), str(tmp_path / "titles"), dropped))
    assert titled == [(one, "" if one in ("5", "x") else f"Title {one}", text) for one, _, text in passages]
    assert dropped == {"passages_without_title_entry": 1}
    with pytest.raises(UserError, match="has no title for any of the 1 passages"):
        list(with_titles(iter([("x", "", "y")]), str(tmp_path / "titles"), dropped))
