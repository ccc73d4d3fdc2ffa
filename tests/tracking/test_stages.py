import json

import pytest

from simlm.errors import UserError
from simlm.evaluation.compare import read_metrics
from simlm.files import write_text
from simlm.records.stages import number, read_stages


def test_records_come_in_the_order_they_ran(made):
    stages = read_stages(made.experiment, made.paths)
    assert stages[0].name == "prepare_corpus"
    assert stages[-1].name == "compare_systems"
    assert [stage.record["start"] for stage in stages] == sorted(stage.record["start"] for stage in stages)


def test_stages_of_an_earlier_configuration_are_left_out(made):
    made.stage("encode.distilled.1-of-4")
    made.stage("build_index.gone")
    made.stage("train.control", settings={"learning_rate": 0.5})
    names = {stage.name for stage in read_stages(made.experiment, made.paths)}
    assert "encode.distilled.1-of-4" not in names
    assert "build_index.gone" not in names
    assert "train.control" not in names
    assert "encode.distilled.1-of-2" in names


def test_measurements_and_their_fall_back(made):
    made.stage("evaluate", seconds=0.5)
    stages = {stage.name: stage for stage in read_stages(made.experiment, made.paths)}
    assert stages["train.simlm"].seconds == 13.5
    assert stages["train.simlm"].peak_memory_mib == 800.0
    assert stages["evaluate"].peak_memory_mib == 512.5, "Snakemake writes NA for short jobs; the record knows"
    made.paths.benchmark("train.simlm").unlink()
    stage = next(stage for stage in read_stages(made.experiment, made.paths) if stage.name == "train.simlm")
    assert (stage.seconds, stage.peak_memory_mib) == (12.5, 512.5)


def test_a_torn_history_is_read_up_to_the_tear(made):
    file = made.paths.history("simlm")
    whole = file.read_text().splitlines()
    write_text(file, "\n".join(whole[:5]) + '\n{"step": 6')
    stage = next(stage for stage in read_stages(made.experiment, made.paths) if stage.name == "train.simlm")
    assert stage.history == [json.loads(line) for line in whole[:5]]


def test_a_truncated_record_is_named(made):
    made.paths.record("train.simlm").write_text('{"stage": "train')
    with pytest.raises(UserError, match=r"train\.simlm\.json is truncated"):
        read_stages(made.experiment, made.paths)


def test_a_truncated_table_is_named(made):
    made.paths.metrics_table.write_text("system\tsplit\n")
    with pytest.raises(UserError, match=r"metrics\.tsv is truncated or foreign"):
        read_metrics(made.paths.metrics_table)


def test_numbers():
    assert [number(value) for value in ("NA", "-", None, True, 2, "1e-3")] == [None, None, None, None, 2.0, 0.001]
