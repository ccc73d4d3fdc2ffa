"""Every mistake in a configuration file is one sentence that names file, line and the nearest valid name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from changes import put

from simlm.config import load_experiment
from simlm.errors import UserError

VALID = {
    "name": "tiny",
    "corpus": {"source": "python_docs", "packages": ["networkx"]},
    "models": {
        "base": {"kind": "mlm", "size": {"layers": 2, "hidden": 32}, "steps": 5},
        "simlm": {"kind": "bottleneck", "init": "base", "generator": "base", "steps": 5},
        "first": {"kind": "biencoder", "init": "simlm", "negatives": "bm25", "steps": 5},
        "reranker": {"kind": "crossencoder", "init": "base", "negatives": "first", "steps": 5},
        "student": {"kind": "biencoder", "init": "simlm", "negatives": "first", "teacher": "reranker", "steps": 5},
        "both": {"kind": "fusion", "of": ["student", "bm25"]},
    },
    "evaluate": {"systems": ["bm25", "first", "student", "both"], "splits": {"dev": {}, "test": {}}, "main_split": "test"},
}


def written(folder: Path, change, name: str = "c.yaml") -> Path:
    values = copy.deepcopy(VALID)
    change(values)
    file = folder / name
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def mistake(folder: Path, change) -> str:
    with pytest.raises(UserError) as caught:
        load_experiment(written(folder, change))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


CASES = {
    "unknown top-level key": (put("modles", {}), ["modles", "unknown key", "did you mean 'models'?"]),
    "unknown key of a block": (put("evaluate", "metric", ["AP"]), ["evaluate.metric", "did you mean 'metrics'?"]),
    "unknown key of a kind": (put("models", "first", "learnig_rate", 1.0), ["models.first.learnig_rate", "did you mean 'learning_rate'?"]),
    "unknown key of a corpus": (put("corpus", "package", "x"), ["corpus.package", "did you mean 'packages'?"]),
    "unknown key inside a kind": (put("models", "base", "size", "hiden", 3), ["models.base.size.hiden", "did you mean 'hidden'?"]),
    "unknown kind": (put("models", "first", "kind", "biencodr"), ["models.first.kind", "did you mean 'biencoder'?"]),
    "missing kind": (lambda v: v["models"]["first"].pop("kind"), ["models.first", "'kind' is missing"]),
    "misspelt model of an overlay": (put("models", "studnt", {"steps": 7}), ["models.studnt", "'kind' is missing; did you mean 'student'?"]),
    "new model without a kind": (put("models", "quick", {"steps": 7}), ["models.quick", "'kind' is missing", "there are base, simlm, first"]),
    "unknown source": (put("corpus", {"source": "beer", "path": "x", "splits": {"a": "a"}}), ["corpus.source", "did you mean 'beir'?"]),
    "weights that are a word": (
        put("models", "both", "weights", "atuo"),
        ["models.both.weights: input should be 'auto' or 'best' or a valid list, not"],
    ),
    "a weight that is a word": (put("models", "both", "weights", [1, "x"]), ["models.both.weights.1: input should be a valid number", "not 'x'"]),
    "missing key": (lambda v: v["evaluate"].pop("main_split"), ["evaluate", "'main_split' is missing"]),
    "missing block": (lambda v: v.pop("corpus"), ["'corpus' is missing"]),
    "dangling init": (put("models", "first", "init", "simln"), ["models.first.init", "did you mean 'simlm'?"]),
    "dangling negatives": (put("models", "first", "negatives", "bm52"), ["models.first.negatives", "did you mean 'bm25'?"]),
    "dangling teacher": (put("models", "student", "teacher", "rerankr"), ["models.student.teacher", "did you mean 'reranker'?"]),
    "dangling fusion": (put("models", "both", "of", 1, "bm"), ["models.both.of.1", "no model is called 'bm'"]),
    "dangling system": (put("evaluate", "systems", 2, "studnt"), ["evaluate.systems.2", "did you mean 'student'?"]),
    "wrong kind of init": (put("models", "first", "init", "reranker"), ["models.first.init", "of kind crossencoder"]),
    "wrong kind of teacher": (put("models", "student", "teacher", "first"), ["models.student.teacher", "of kind biencoder"]),
    "wrong kind of negatives": (put("models", "first", "negatives", "simlm"), ["models.first.negatives", "of kind bottleneck"]),
    "wrong kind of system": (put("evaluate", "systems", 1, "simlm"), ["evaluate.systems.1", "does not retrieve"]),
    "training cycle": (put("models", "first", "negatives", "student"), ["waits for itself", "→"]),
    "cycle of one": (put("models", "first", "negatives", "first"), ["waits for itself", "first → first"]),
    "negative batch size": (put("models", "first", "batch_size", -4), ["models.first.batch_size", "not -4"]),
    "text for a number": (put("models", "first", "steps", "many"), ["models.first.steps", "'many'"]),
    "steps and epochs": (put("models", "first", "epochs", 2), ["models.first", "exactly one of 'epochs' and 'steps'"]),
    "heads and width": (put("models", "base", "size", "heads", 5), ["models.base.size", "multiple of heads"]),
    "mask shares": (put("models", "simlm", "decoder_mask", 0.1), ["models.simlm", "decoder_mask must not be smaller"]),
    "teacher without negatives": (put("models", "student", "negatives", None), ["models.student", "'negatives' and 'hard_negatives' must be given"]),
    "teacher without hard negatives": (put("models", "student", "hard_negatives", 0), ["models.student", "'negatives' and 'hard_negatives' must be given"]),
    "unknown split": (put("evaluate", "splits", {"tets": {}, "test": {}}), ["evaluate.splits.tets", "did you mean 'test'?"]),
    "main split not judged": (put("evaluate", "main_split", "train"), ["evaluate.main_split", "not among evaluate.splits"]),
    "main metric not computed": (put("evaluate", "main_metric", "RR@1"), ["evaluate.main_metric", "did you mean 'RR@10'?"]),
    "baseline not evaluated": (put("evaluate", "baseline", "bm52"), ["evaluate.baseline", "did you mean 'bm25'?"]),
    "system listed twice": (put("evaluate", "systems", ["bm25", "first", "first"]), ["evaluate.systems", "twice"]),
    "model called bm25": (lambda v: v["models"].update(bm25=v["models"]["first"]), ["models.bm25", "lexical baseline"]),
    "name with a slash": (put("name", "a/b"), ["name"]),
    "shares": (put("corpus", "partition", {"of": "all", "parts": {"train": 0.5, "dev": 0.2}}), ["corpus.partition", "add up to 1"]),
    "not a finite number": (put("models", "first", "learning_rate", float("nan")), ["models.first.learning_rate"]),
}


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_one_sentence_with_its_place(case, tmp_path):
    change, fragments = CASES[case]
    sentence = mistake(tmp_path, change)
    for fragment in fragments:
        assert fragment in sentence


def test_the_line_is_that_of_the_key(tmp_path):
    file = written(tmp_path, put("models", "first", "batch_size", -4))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "batch_size: -4" in text)
    with pytest.raises(UserError, match=f"c.yaml:{line}: models.first.batch_size"):
        load_experiment(file)


def test_the_line_is_that_of_the_file_which_says_it(tmp_path):
    base = written(tmp_path, lambda values: None)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("# a comment\nmodels:\n  first:\n    temprature: 1\n")
    with pytest.raises(UserError, match=r"overlay.yaml:4: models.first.temprature.*'temperature'"):
        load_experiment(base, overlay)


@pytest.mark.parametrize(("taken_out", "meant"), [("models: {studnt: null}", "student"), ("evaluate: {splits: {tset: null}}", "test")])
def test_null_for_a_name_that_nothing_has(taken_out, meant, tmp_path):
    base, overlay = written(tmp_path, lambda values: None), tmp_path / "overlay.yaml"
    overlay.write_text(taken_out + "\n")
    with pytest.raises(UserError, match=rf"overlay.yaml:1: .*null takes out a name of an earlier file.*did you mean '{meant}'"):
        load_experiment(base, overlay)


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"none.yaml does not exist"):
        load_experiment(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\ncorpus: [1, 2\nmodels: {}\n")
    with pytest.raises(UserError, match=r"broken.yaml:\d+ is not YAML"):
        load_experiment(broken)
    broken.write_text("- a list\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        load_experiment(broken)


def test_a_long_cycle_is_spelled_out(tmp_path):
    def change(values):
        values["models"]["first"]["negatives"] = "second"
        values["models"]["second"] = {"kind": "biencoder", "init": "simlm", "negatives": "student", "steps": 1}

    sentence = mistake(tmp_path, change)
    for name in ("first", "second", "student"):
        assert name in sentence


def test_evaluation_cycle(tmp_path):
    def change(values):
        values["models"]["again"] = {"kind": "fusion", "of": ["both", "bm25"]}
        values["models"]["both"]["of"] = ["again", "bm25"]

    assert "waits for itself" in mistake(tmp_path, change)
