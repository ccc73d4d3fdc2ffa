"""``simlm new``: what it sees in a folder and in a start, what it chooses, and that what it writes can be run."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from snakemake.cli import get_argument_parser
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from simlm.cli import main, parser_of
from simlm.config import load_experiment
from simlm.config.jobs import jobs
from simlm.models.folder import save_model
from simlm.planning.timeline import timeline
from simlm.proposal import data as datas
from simlm.proposal.base import is_foreign, scratch
from simlm.proposal.base import look as look_at_base
from simlm.proposal.budget import planner, seconds
from simlm.proposal.choices import RECIPES
from simlm.proposal.write import propose
from tests.models.published_retrievers import describe

WORDS = [
    "matrix",
    "list",
    "row",
    "columns",
    "numbers",
    "numpy",
    "swap",
    "invert",
    "sort",
    "find",
    "join",
    "split",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
]


def folder_of(root: Path, passages: int = 300, queries: dict[str, int] | None = None, grades: int = 1, words: int = 40) -> Path:
    """A folder in BEIR's layout, with as many queries of each split."""
    random = np.random.default_rng(0)
    (root / "qrels").mkdir(parents=True)
    texts = [{"_id": f"p{i}", "title": f"all about {i}" if i % 2 else "", "text": " ".join(random.choice(WORDS, words))} for i in range(passages)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    lines = []
    for split, count in (queries or {"train": 200, "dev": 20, "test": 30}).items():
        lines += [{"_id": f"{split}-{i}", "text": " ".join(random.choice(WORDS, 5))} for i in range(count)]
        judged = [f"{split}-{i}\tp{i % passages}\t{1 + i % grades}\n" for i in range(count)]
        (root / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    (root / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture
def retriever(tmp_path, tiny_encoder, word_tokenizer) -> Path:
    """A finished retriever of sentence-transformers with mean pooling."""
    folder = tmp_path / "retriever"
    tiny_encoder.save_pretrained(folder)
    word_tokenizer.save_pretrained(folder)
    return describe(folder, {"pooling_mode_mean_tokens": True}, longest=48)


@pytest.fixture
def encoder(tmp_path, tiny_encoder, word_tokenizer) -> Path:
    folder = tmp_path / "encoder"
    tiny_encoder.save_pretrained(folder)
    word_tokenizer.save_pretrained(folder)
    return folder


def test_what_is_seen(tmp_path):
    folder = folder_of(tmp_path / "mine", grades=3)
    (folder / "qrels" / "foreign.tsv").write_text("".join(f"test-{i}\tnowhere{i}\t1\n" for i in range(9)))
    (folder / "qrels" / "validation.tsv").write_bytes((folder / "qrels" / "dev.tsv").read_bytes())
    (folder / "qrels" / "dev.tsv").unlink()
    seen = datas.look(folder, lambda text: len(text.split()))
    assert (seen.passages, list(seen.splits), seen.splits["dev"].file) == (300, ["train", "dev", "test"], "validation")
    assert (seen.train.queries, seen.train.judgements, seen.train.grades, seen.titled) == (200, 200, 3, 0.5)
    assert (seen.language, seen.code) == ("english", False)
    assert seen.tokens[50] == 43  # forty words, and three of a title for every second passage
    assert seen.left_out == ["foreign: the corpus lacks 100% of its judged passages"]
    assert not any(split.own for split in seen.splits.values())


def test_queries_without_a_relevant_passage_teach_and_judge_nothing(tmp_path):
    folder = folder_of(tmp_path / "mine")
    train = folder / "qrels" / "train.tsv"
    train.write_text("".join(f"train-{i}\tp{i}\t{int(i < 50)}\n" for i in range(200)))
    (folder / "qrels" / "zeros.tsv").write_text("".join(f"test-{i}\tp{i}\t0\n" for i in range(30)))
    seen = datas.look(folder, len)
    assert (seen.train.queries, seen.train.judgements, seen.train.relevant) == (50, 200, 50)
    assert seen.left_out == ["zeros: none of its judged queries has a text and a passage of a grade above 0"]


def test_a_folder_that_judges_what_it_trains_on_is_told_so(tmp_path, capsys):
    folder = folder_of(tmp_path / "mine", queries={"train": 200})
    assert main(["new", str(folder), "--budget", "1m", "--output", str(tmp_path / "mine.yaml")]) == 0
    assert "Caution: train is the only split there is" in capsys.readouterr().out
    assert "queries that were trained on" in (tmp_path / "mine.yaml").read_text()


def test_a_letter_is_a_token_where_words_have_no_borders(tmp_path):
    folder = folder_of(tmp_path / "mine")
    texts = [{"_id": f"p{i}", "title": "", "text": "\u4fe1\u606f\u68c0\u7d22" * 20} for i in range(300)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    assert datas.look(folder, scratch().tokens).tokens[50] == 80


def test_rates_and_graph_follow_from_the_start(tmp_path, retriever, encoder):
    seen = datas.look(folder_of(tmp_path / "mine"), lambda text: len(text.split()))
    found = {}
    for base in (look_at_base(str(retriever)), look_at_base(str(encoder)), scratch()):
        found[base.start] = propose(seen, base, "mine", 1200, 2, 0, reranker=False).experiment
    assert {name: experiment.models["retriever"].learning_rate for name, experiment in found.items()} == {"retriever": 2e-5, "encoder": 5e-5, "scratch": 2e-3}
    assert list(found["retriever"].models) == ["base", "candidates", "retriever", "fusion"]
    assert found["retriever"].evaluate.systems == ["bm25", "base", "candidates", "retriever", "fusion"]
    assert found["retriever"].models["retriever"].init == "base"
    assert found["retriever"].models["retriever"].pooling is None  # what the start says of itself
    assert found["encoder"].models["retriever"].init == str(encoder)
    assert list(found["scratch"].models) == ["base", "generator", "simlm", "retriever", "fusion"]
    for experiment in found.values():
        assert experiment.models["retriever"].keep == "best"
        assert experiment.models["retriever"].passage_length <= 64
    assert "train_tokenizer" not in {job.stage for job in jobs(found["retriever"])}


def test_a_reranker_is_trained_where_it_sees_enough(tmp_path, retriever):
    seen = datas.look(folder_of(tmp_path / "mine"), lambda text: len(text.split()))
    base = look_at_base(str(retriever))
    experiment = propose(seen, base, "mine", 3600, 2, 0).experiment
    assert list(experiment.models) == ["base", "candidates", "retriever", "reranker", "distilled", "fusion"]
    assert (experiment.models["reranker"].rerank, experiment.models["reranker"].negatives) == ("candidates", "candidates")
    assert (experiment.models["distilled"].teacher, experiment.models["distilled"].init, experiment.models["distilled"].learning_rate) == (
        "reranker",
        "retriever",
        2e-5,
    )
    assert experiment.models["fusion"].of == ["distilled", "base", "bm25"]
    found = propose(seen, base, "mine", 30, 2, 0)
    assert "reranker" not in found.experiment.models
    assert "No re-ranker: in its share of the time it would see fewer than the 20,000 pairs" in found.text
    assert "No re-ranker, as was asked for." in propose(seen, base, "mine", 3600, 2, 0, reranker=False).text


def test_more_time_is_more_steps_and_none_beyond_what_the_queries_can_teach(tmp_path, retriever):
    seen = datas.look(folder_of(tmp_path / "mine", queries={"train": 3000, "dev": 20, "test": 30}, words=300), lambda text: len(text.split()))
    base = look_at_base(str(retriever))
    plans = [propose(seen, base, "mine", budget, 2, 0, reranker=False).fit for budget in (60, 120, 100_000)]
    steps = [found.plan.steps["retriever"] for found in plans]
    assert steps[0] <= steps[1] <= steps[2]
    passes = steps[2] * plans[2].plan.batch / 2700
    assert RECIPES["retriever"].passes[1] <= passes <= RECIPES["retriever"].passes[0] + 1
    assert plans[2].wall < 100_000


def test_the_time_is_kept_as_the_plan_counts_it(tmp_path, retriever):
    seen = datas.look(folder_of(tmp_path / "mine", passages=2000, queries={"train": 1500, "test": 30}), lambda text: len(text.split()))
    base = look_at_base(str(retriever))
    found = propose(seen, base, "mine", 150, 2, 0, reranker=False)
    made = planner(seen, base, found.experiment)
    assert made.counts.passages == 2000
    assert timeline(made, 2, 0).wall == found.fit.wall <= 150


def test_what_is_written_is_checked_planned_and_says_why(tmp_path, monkeypatch, capsys, retriever):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "data" / "mine")
    assert main(["new", "data/mine", "--base", str(retriever), "--budget", "10m", "--no-reranker"]) == 0
    printed = capsys.readouterr().out
    assert "a finished retriever" in printed
    assert "Wrote mine.yaml: bm25, base, candidates, retriever, fusion" in printed
    run, summary = [shlex.split(line) for line in printed.split("Next:\n")[1].splitlines()]
    assert [Path(command[0]).name for command in (run, summary)] == ["snakemake", "simlm"]
    asked = get_argument_parser().parse_args(run[1:])
    assert [str(file) for file in asked.configfile] == ["mine.yaml"]
    assert list(asked.targets) == ["all"]
    assert parser_of(summary[1]).parse_args(summary[2:]).experiment == "mine"
    text = (tmp_path / "mine.yaml").read_text()
    for key in ("learning_rate", "steps", "passage_length", "query_length", "analyzers", "hard_negatives", "dropout", "splits", "keep", "init", "drop_above"):
        lines = text.splitlines()
        place = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert lines[place - 1].strip().startswith("#"), key
    assert main(["check", "--config", "mine.yaml"]) == 0
    assert "caution" not in capsys.readouterr().out
    assert main(["plan", "--config", "mine.yaml"]) == 0
    assert "train.retriever" in capsys.readouterr().out
    assert main(["new", "data/mine", "--base", str(retriever)]) == 2
    assert "mine.yaml exists already" in capsys.readouterr().err


def test_without_training_queries_nothing_is_trained(tmp_path, retriever):
    seen = datas.look(folder_of(tmp_path / "mine", queries={"test": 30}), lambda text: len(text.split()))
    found = propose(seen, look_at_base(str(retriever)), "mine", 1200, 2, 0)
    assert found.experiment.evaluate.systems == ["bm25", "base", "fusion"]
    assert "No fine-tuning: there is no split train." in found.text
    alone = propose(seen, scratch(), "mine", 1200, 2, 0)
    assert alone.experiment.models == {}
    assert [job.stage for job in jobs(alone.experiment)] == ["prepare_corpus", "index_bm25", "search_bm25", "evaluate", "compare_systems"]


def test_training_queries_are_made_of_the_passages(tmp_path, retriever, monkeypatch, capsys):
    """Half of the passages of the folder have a title; where fewer have one it is their first sentence."""
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "mine", queries={"test": 30})
    assert main(["new", "mine", "--base", str(retriever), "--budget", "1h", "--cores", "2"]) == 0
    assert "made of the passages (title), because there are none" in capsys.readouterr().out
    experiment = load_experiment(Path("mine.yaml"))
    made = experiment.corpus.made_queries
    assert (made.query, made.parts, experiment.corpus.split_names()) == ("title", {"train": 1.0}, ["test", "train"])
    assert list(experiment.models) == ["base", "candidates", "retriever", "fusion"]  # a re-ranker would see the query in the passage
    assert experiment.models["retriever"].hide_query == 0.9
    assert [experiment.models[name].weights for name in ("candidates", "fusion")] == [None, None]
    assert list(experiment.evaluate.splits) == ["test"]
    assert "make_queries" in {job.stage for job in jobs(experiment)}
    assert main(["new", "mine", "--base", str(retriever), "--no-made-queries", "--output", "none.yaml"]) == 0
    assert load_experiment(Path("none.yaml")).corpus.made_queries is None
    seen = datas.look(tmp_path / "mine", lambda text: len(text.split()))
    assert seen.fit == {"title": 0.5, "first_sentence": 0.0}
    assert datas.with_made_queries(replace(seen, fit={"title": 0.4, "first_sentence": 0.9})).made.query == "first_sentence"
    own = datas.look(folder_of(tmp_path / "judged"), lambda text: len(text.split()))
    assert datas.with_made_queries(own) is own


def test_titles_of_two_words_are_no_queries(tmp_path, capsys):
    folder = folder_of(tmp_path / "mine", queries={"test": 30})
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("all about", "about"))
    output = tmp_path / "with blanks" / "mine.yaml"
    output.parent.mkdir()
    assert main(["new", str(folder), "--budget", "1m", "--cores", "2", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "hardly a passage has a title or a first sentence of 3 to 40 words" in said
    assert f"--configfile '{output}' -- all" in said
    assert load_experiment(output).corpus.made_queries is None


def test_a_start_that_does_not_know_the_language_is_told_so(tmp_path, retriever, capsys):
    """The start knows the words of the folder, and of Greek nothing; where a vocabulary has the letters alone it knows as little."""
    folder, base = folder_of(tmp_path / "mine"), look_at_base(str(retriever))
    assert datas.look(folder, base.tokens, base.foreign).foreign < 0.5
    corpus = folder / "corpus.jsonl"
    greek = {"text": "\u03c8\u03c9\u03bc\u03b9 \u03b1\u03bb\u03b5\u03c5\u03c1\u03b9 " * 20}
    passages = [json.loads(line) for line in corpus.read_text().splitlines()]
    corpus.write_text("".join(json.dumps(passage | greek) + "\n" for passage in passages))
    assert main(["new", str(folder), "--base", str(retriever), "--budget", "1m", "--output", str(tmp_path / "mine.yaml")]) == 0
    assert "of the passages' words are not in the start's vocabulary" in capsys.readouterr().out
    assert "has not learned this language" in (tmp_path / "mine.yaml").read_text().split("tokenizer:")[1]
    letters = Tokenizer(WordPiece({"[UNK]": 0, "b": 1, "##r": 2, "##e": 3, "##a": 4, "##d": 5, "water": 6, "##s": 7}, unk_token="[UNK]"))
    assert [is_foreign(letters, word) for word in ("bread", "waters", "wine")] == [True, False, True]


def test_tables_and_time(tmp_path):
    folder = folder_of(tmp_path / "mine")
    for name in ("corpus", "queries"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        (folder / f"{name}.tsv").write_text("".join("\t".join(line) + "\n" for line in [list(rows[0]), *(list(row.values()) for row in rows)]))
        (folder / f"{name}.jsonl").unlink()
    seen = datas.look(folder, lambda text: len(text.split()))
    assert (seen.block.source, seen.passages, seen.train.queries) == ("hub", 300, 200)
    assert [seconds(text) for text in ("20m", "1h30m", "90", "45s")] == [1200, 5400, 5400, 45]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "the folder nowhere does not exist"),
        (["data/mine", "--budget", "soon"], "--budget: 'soon' is no time"),
        (["data/mine", "--base", "./nobody"], "--base: there is no folder ./nobody"),
        (["data"], "data has no judgements"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "data" / "mine")
    assert main(["new", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not list(tmp_path.glob("*.yaml"))


def test_no_cores_are_refused(capsys):
    for command in (["new", "data/mine"], ["plan"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--cores", "0"])
        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith("argument --cores: give a whole number from 1 on, not '0'")


def test_an_overlay_alone_is_told_so(tmp_path, capsys):
    file = tmp_path / "over.yaml"
    for values in ({"models": {"retriever1": {"epochs": 3}}}, {"name": "x", "seed": 3}):
        file.write_text(yaml.safe_dump(values))
        assert main(["check", "--config", str(file)]) == 2
        assert f"this looks like an overlay, which is laid over another file: --config config/config.yaml {file}" in capsys.readouterr().err


def test_an_own_retriever_is_a_finished_one(tmp_path, tiny_encoder, word_tokenizer):
    folder = tmp_path / "own"
    from simlm.models.reading import Reading

    save_model(folder, tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24}, reading=Reading(pooling=("mean",)))
    base = look_at_base(str(folder))
    assert (base.start, base.pooling, base.longest, base.positions) == ("retriever", "mean", 24, 64)
