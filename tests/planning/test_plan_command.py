"""The plan against the workflow's own list of jobs, against hand-computed sizes, and where it has to say what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from simlm.cli import main
from simlm.config import load_experiment
from simlm.config.experiment import Encoding
from simlm.errors import UserError
from simlm.paths import Paths
from simlm.planning.costs import DEFAULT, load_costs
from simlm.planning.counts import Counts, count
from simlm.planning.estimate import Planner
from simlm.planning.index_size import vector_bytes
from simlm.planning.work import Workload

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"


@pytest.fixture
def smoke():
    return load_experiment(SMOKE)


def planner(experiment, folder, **counts):
    costs = load_costs()
    size = Counts(**{"passages": 1000, "words": 50, "queries": {"train": 100, "dev": 10, "test": 10}, "source": "the test", **counts})
    return Planner(experiment, Paths(folder), size, costs, costs.accelerator(None)[1])


def test_shards_are_jobs_of_one_line(smoke, tmp_path):
    four = smoke.model_copy(update={"encoding": Encoding(shards=4)})
    stages = {stage.stage: stage for stage in planner(four, tmp_path).stages()}
    assert stages["encode.distilled"].jobs == 4
    assert stages["encode.distilled"].disk == (1000 + 20) * 32 * 4  # passages, and the queries of dev and test


def test_what_has_left_its_record_is_done(smoke, tmp_path, capsys):
    record = Paths(tmp_path / "smoke").record("index_bm25")
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert main(["plan", "--config", str(SMOKE), "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("index_bm25")).endswith("yes")
    assert next(line for line in lines if line.startswith("search_bm25")).endswith("-")
    assert any(line.startswith("still to run") for line in lines)


def test_costs_grow_with_what_they_depend_on(smoke, tmp_path):
    small, large = (planner(smoke, tmp_path, passages=passages, queries={"train": 100_000, "dev": 10, "test": 10}) for passages in (10**7, 2 * 10**7))
    before, after = ({stage.stage: stage for stage in one.stages()} for one in (small, large))
    for stage in ("prepare_corpus", "index_bm25", "encode.distilled", "build_index.distilled"):
        assert after[stage].disk == pytest.approx(2 * before[stage].disk, rel=0.1)
        assert after[stage].cpu > 1.5 * before[stage].cpu
    assert after["train.distilled"].cpu < 1.5 * before["train.distilled"].cpu  # steps are given


def test_a_gpu_turns_core_time_into_accelerator_time(smoke, tmp_path):
    models = {**smoke.models, "simlm": smoke.models["simlm"].model_copy(update={"gpus": 1})}
    on_gpu = smoke.model_copy(update={"models": models})
    stage = next(stage for stage in planner(on_gpu, tmp_path).stages() if stage.stage == "train.simlm")
    one = planner(on_gpu, tmp_path)
    expected = one.work.training("simlm").operations / (one.accelerator.peak_tflops * 1e12 * one.accelerator.training)
    assert stage.accelerator == pytest.approx(expected)


def test_steps_follow_from_epochs_and_queries_that_are_not_held_out(smoke):
    block = smoke.models["control"].model_copy(update={"steps": None, "epochs": 3})
    experiment = smoke.model_copy(update={"models": {**smoke.models, "control": block}})
    work = Workload(experiment, Counts(1000, 50, {"train": 500}, "the test"))
    assert work.steps("control") == -(-3 * (500 - 20) // 16)


@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "SQ8", "PQ16x4", "OPQ16,PQ16x4", "IVF16,Flat", "IVF16,SQfp16", "HNSW16", "PCA32,SQ8"])
def test_size_of_an_index_is_that_of_a_real_one(factory):
    import faiss

    vectors = np.random.default_rng(0).standard_normal((800, 64)).astype(np.float32)
    sizes = []
    for rows in (400, 800):
        index = faiss.index_factory(64, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors[:rows])
        sizes.append(faiss.serialize_index(index).size)
    assert (sizes[1] - sizes[0]) / 400 == pytest.approx(vector_bytes(factory, 64), rel=0.03)


def test_collections_known_and_unknown(tmp_path):
    """Nothing is downloaded; what is not known is said."""
    values = yaml.safe_load(SMOKE.read_text())
    ids = {"train": "msmarco-passage/train/judged", "dev": "msmarco-passage/dev/small", "test": "unheard-of"}
    values["corpus"] = {"source": "ir_datasets", "passages": "msmarco-passage", "splits": ids}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(values))
    found = count(load_experiment(file), Paths(tmp_path / "r"))
    assert found.passages == 8_841_823
    assert found.queries["train"] == 502_939
    assert len(found.assumed) == 1
    assert "'test' is not known" in found.assumed[0]
    with pytest.raises(UserError, match=r"no split 'tset'; did you mean 'test'"):
        count(load_experiment(file), Paths(tmp_path / "r"), {"tset": 3})


def test_counts_of_a_folder_and_of_a_prepared_corpus(tmp_path):
    from simlm.context import Context
    from simlm.corpus.prepare import prepare_corpus

    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(f'{{"_id": "{i}", "title": "", "text": "one two three"}}\n' for i in range(30)))
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "q{i}", "text": "one"}}\n' for i in range(4)))
    for split, queries in (("train", (0, 1, 1)), ("dev", (2,)), ("test", (3,))):
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{q}\t{i}\t1\n" for i, q in enumerate(queries)))
    values = yaml.safe_load(SMOKE.read_text())
    values["corpus"] = {"source": "beir", "path": str(folder), "splits": {split: split for split in ("train", "dev", "test")}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    context = Context(load_experiment(tmp_path / "c.yaml"), Paths(tmp_path / "r"))
    before = count(context.experiment, context.paths)
    assert (before.passages, before.queries) == (30, {"train": 2, "dev": 1, "test": 1})
    prepare_corpus(context.experiment.corpus, context.paths.corpus)
    after = count(context.experiment, context.paths)
    assert (after.passages, after.words, after.queries, after.source) == (30, 3.0, before.queries, "the prepared corpus")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--accelerator", "a10"], "none is called 'a10'; did you mean 'a100'?"),
        (["--counts", "passages=many"], "--counts takes NAME=N"),
        (["--costs", "nowhere.yaml"], "nowhere.yaml does not exist; run simlm calibrate"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence, tmp_path, capsys):
    assert main(["plan", "--config", str(SMOKE), "--results", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_truncated_file_of_costs_is_refused(tmp_path):
    file = tmp_path / "costs.yaml"
    file.write_text(DEFAULT.read_text().replace("search_gflops", "search_gflop"))
    with pytest.raises(UserError, match="search_gflops: Field required; run simlm calibrate again"):
        load_costs(file)


def test_speed_between_two_measured_widths(smoke):
    costs = load_costs().model_copy(update={"training_gflops": {64: 10.0, 256: 40.0}})
    assert costs.gflops(128, True) == pytest.approx(20)
    assert [costs.gflops(width, True) for width in (16, 64, 256, 4096)] == [10, 10, 40, 40]


@pytest.mark.slow
def test_calibration_writes_what_the_plan_reads(tmp_path):
    """The real measurement, on little text and for a moment."""
    from simlm.planning.calibrate import calibrate

    found = calibrate(load_costs(), passages=400, seconds=0.02, starts=1)
    file = tmp_path / "costs.yaml"
    file.write_text(yaml.safe_dump(found))
    costs = load_costs(file)
    assert costs.accelerators == load_costs().accelerators
    assert all(speed > 0 for speed in costs.training_gflops.values())
    assert "one thread" in costs.machine
