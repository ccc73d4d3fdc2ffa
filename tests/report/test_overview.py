import json
from dataclasses import replace

import numpy as np
import pytest
from made_results import MadeResults, made_configuration
from scipy import stats

from simlm.cli import main
from simlm.errors import UserError
from simlm.evaluation.files import read_per_query
from simlm.files import write_json
from simlm.report.against import Side, against, side_of
from simlm.report.overview import lines_of, lines_text, read_experiments


def test_all_experiments_are_in_the_tables(tmp_path, capsys):
    results = tmp_path / "results"
    made = MadeResults(results)
    MadeResults(results, name="second")
    assert main(["compare", "--results", str(results)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("\t") for line in (results / "comparison.tsv").read_text().splitlines()]
    assert rows[0] == ["experiment", "system", "split", "RR@10", "R@50", "R@1000", "nDCG@10", "AP", "n_queries", "source", "corpus"]
    assert [row[:3] for row in rows[1:]] == [[name, system, "test"] for name in ("made", "second") for system in made.experiment.evaluate.systems]
    table = {tuple(line.split("\t")[:3]): float(line.split("\t")[3]) for line in made.paths.metrics_table.read_text().splitlines()[1:]}
    assert float(rows[6][3]) == pytest.approx(table["distilled", "test", "RR@10"], abs=1e-6)
    assert f"{table['distilled', 'test', 'RR@10']:.4f}" in printed
    assert (results / "comparison.md").read_text().count("\n") == len(rows) + 1


def test_other_splits_and_unknown_ones(tmp_path, capsys):
    results = tmp_path / "results"
    MadeResults(results)
    assert main(["compare", "--results", str(results), "--split", "dev", "test"]) == 0
    assert len((results / "comparison.tsv").read_text().splitlines()) == 15
    assert main(["compare", "--results", str(results), "--split", "tets"]) == 2
    assert "did you mean 'test'?" in capsys.readouterr().err


def test_nothing_to_compare_and_a_broken_neighbour(tmp_path, capsys):
    with pytest.raises(UserError, match="run one first"):
        read_experiments(tmp_path)
    results = tmp_path / "results"
    MadeResults(results)
    broken = MadeResults(results, name="broken")
    broken.paths.config.write_text("name: broken\n")
    assert main(["compare", "--results", str(results)]) == 0
    assert "broken is left out" in capsys.readouterr().err


def test_the_best_is_marked_within_a_corpus_alone(tmp_path):
    results = tmp_path / "results"
    made, other = MadeResults(results), MadeResults(results, name="other")
    manifest = json.loads((other.paths.corpus / "manifest.json").read_text())
    write_json(other.paths.corpus / "manifest.json", manifest | {"sha256": "f" * 64})
    table = other.paths.metrics_table.read_text().replace("\t0.", "\t0.9")
    other.paths.metrics_table.write_text(table)
    text = lines_text(lines_of([made.context, other.context]), None)
    first, second = text.split("Corpus: ")[1:]
    assert first.split(",")[0] == second.split(",")[0] == "beir"
    assert "sha256 ffffffffffff" in second
    for part, name in ((first, "made"), (second, "other")):
        best = max(float(line.split("\t")[3]) for line in (results / name / "metrics.tsv").read_text().splitlines()[1:] if "\ttest\tRR@10" in line)
        (marked,) = {line.split()[3] for line in part.splitlines() if line.startswith(name) and line.split()[3].endswith("*")}
        assert marked == f"{best:.4f}*"


def test_no_figure_is_cut_at_eighty_columns(tmp_path):
    MadeResults(tmp_path / "results")
    contexts, _ = read_experiments(tmp_path / "results")
    whole, narrow = lines_text(lines_of(contexts), None), lines_text(lines_of(contexts), 80)
    assert max(len(line) for line in narrow.splitlines() if not line.startswith("Corpus")) <= 80
    figures = [word for word in whole.split() if word.startswith("0.")]
    assert len(figures) == 7 * 5
    assert sorted(figures) == sorted(word for word in narrow.split() if word.startswith("0."))


def test_one_unknown_split_of_several_is_refused(tmp_path, capsys):
    MadeResults(tmp_path / "results")
    assert main(["compare", "--results", str(tmp_path / "results"), "--split", "test", "dve"]) == 2
    assert "no experiment was judged on the split 'dve'; did you mean 'dev'?" in capsys.readouterr().err


def test_two_systems_of_two_experiments_are_tested_on_the_same_queries(tmp_path, capsys):
    results = tmp_path / "results"
    made = MadeResults(results)
    models = {**made_configuration(results)["models"]}
    models["distilled"] = {**models["distilled"], "epochs": 2}
    other = MadeResults(results, name="other", models=models, seed=7)
    ids, _ = read_per_query(other.paths.per_query("distilled", "test"))
    values = np.random.default_rng(3).random(len(ids))
    lines = ["query_id\tRR@10\tAP", *(f"{name}\t{value!r}\t{value!r}" for name, value in reversed(list(zip(ids, values.tolist()))))]
    other.paths.per_query("distilled", "test").write_text("\n".join(lines) + "\n")
    metrics = other.experiment.evaluate.model_copy(update={"metrics": ["RR@10", "AP"]})
    context = replace(other.context, experiment=other.experiment.model_copy(update={"evaluate": metrics}))
    found = against(Side(context, "distilled"), side_of("made/fusion", [made.context]), ["test"])
    theirs = read_per_query(made.paths.per_query("fusion", "test"))[1]
    for row, one, two in found.tests:
        expected = stats.ttest_rel(values, theirs[row.metric])
        assert row.p == pytest.approx(expected.pvalue)
        assert (one, two) == (pytest.approx(values.mean()), pytest.approx(theirs[row.metric].mean()))
        assert row.wins == (values > theirs[row.metric]).sum()
    assert ("seed", "7", "42") in found.settings
    same = against(Side(context, "distilled"), Side(made.context, "distilled"), ["test"])
    assert ("distilled.epochs", "2.0", "1.0") in same.settings
    assert same.cautions == []


def test_against_is_a_command_and_refuses_what_cannot_be_compared(tmp_path, capsys):
    results = tmp_path / "results"
    made = MadeResults(results)
    command = ["compare", "--results", str(results), "--against", "made/fusion"]
    assert main([*command, "made"]) == 0
    printed = capsys.readouterr().out
    assert "made/distilled" in printed, "an experiment alone stands for its headline system"
    assert "difference" in printed
    assert main([*command, "made/fusoin"]) == 2
    assert "did you mean 'fusion'?" in capsys.readouterr().err
    assert main([*command, "mode"]) == 2
    assert "did you mean 'made'?" in capsys.readouterr().err
    lines = made.paths.per_query("bm25", "dev").read_text().splitlines(keepends=True)
    made.paths.per_query("bm25", "dev").write_text("".join([*lines[:-1], lines[-1].replace("dev-", "x-")]))
    assert main([*command, "made/bm25"]) == 2
    assert "other queries of the split 'dev' (9 of 10 and 10 are the same)" in capsys.readouterr().err
    assert main([*command, "made/bm25", "--split", "test"]) == 0
