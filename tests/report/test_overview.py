import pytest
from made_results import MadeResults

from simlm.cli import main
from simlm.errors import UserError
from simlm.report.overview import read_experiments


def test_all_experiments_are_in_the_tables(tmp_path, capsys):
    results = tmp_path / "results"
    made = MadeResults(results)
    MadeResults(results, name="second")
    assert main(["compare", "--results", str(results)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("\t") for line in (results / "comparison.tsv").read_text().splitlines()]
    assert rows[0] == ["experiment", "system", "split", "RR@10", "R@50", "R@1000", "nDCG@10", "AP", "n_queries", "source"]
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
