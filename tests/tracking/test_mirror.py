import json

import pytest
from made_results import MadeResults, made_configuration

from simlm.cli import main
from simlm.config.graph import headline_system
from simlm.evaluation.numbers import figure
from simlm.records.stages import read_stages
from simlm.report.pairs import pairs, write_pairs
from simlm.tracking import identity
from simlm.tracking.live import LiveMirror
from simlm.tracking.mirror import mirror
from simlm.tracking.owner import owner_of
from simlm.tracking.store import initialise


@pytest.fixture
def few(made):
    """Only the stages that the test is about, so that it is fast."""
    keep = {"prepare_corpus", "train.simlm", "train.distilled", "evaluate"}
    for file in (made.paths.root / "stages").glob("*.json"):
        if file.stem not in keep:
            file.unlink()
    return made


def children(made, store):
    client, experiment_id = initialise(store)
    parent = identity.find_parent(client, experiment_id, identity.parent_key(made.experiment), owner_of(made.paths.root))
    runs = identity.find_children(client, experiment_id, parent)
    assert {len(found) for found in runs.values()} <= {1}
    return client, parent, {stage: run for stage, (run,) in runs.items()}


def all_runs(client, experiment_id="1"):
    return client.search_runs([experiment_id], max_results=1000)


def test_the_mirror_holds_what_the_files_say(made, store):
    made.stage("train.simlm")
    done = mirror(made.experiment, made.paths, store)
    client, parent, runs = children(made, store)
    stages = {stage.name: stage for stage in read_stages(made.experiment, made.paths)}
    assert set(runs) == set(stages)
    assert done.written == len(stages)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}

    run, stage = runs["train.simlm"], stages["train.simlm"]
    losses = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(losses) == [(line["step"], line["loss"]) for line in stage.history if "loss" in line]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "probe/mrr_10")] == [50, 100, 150, 200]
    assert run.data.params["learning_rate"] == "0.001"
    assert run.data.tags["simlm.input.corpus"] == stage.record["inputs"]["corpus"]["sha256"]
    assert run.data.tags["mlflow.source.git.commit"] == "0" * 40
    assert run.data.metrics["system/peak_memory_mib"] == 800.0
    assert (run.data.metrics["padding"], run.data.metrics["waited"], run.data.tags["simlm.note.binds"]) == (0.05, 0.125, "host")
    stored = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"record.json", "outputs.json", "simlm.history.jsonl", "train.simlm.log", "train.simlm.jsonl"} <= stored

    table = {tuple(line.split("\t")[:3]): float(line.split("\t")[3]) for line in made.paths.metrics_table.read_text().splitlines()[1:]}
    assert parent.data.metrics["test/distilled/mrr_10"] == table["distilled", "test", "RR@10"]
    assert parent.data.metrics["test/mrr_10"] == table["distilled", "test", "RR@10"]
    assert parent.data.metrics["dev/fusion/ndcg_10"] == table["fusion", "dev", "nDCG@10"]
    note = parent.data.tags["mlflow.note.content"]
    for system in made.experiment.evaluate.systems:
        figures = [figure(table[system, "test", metric]) for metric in made.experiment.evaluate.metrics]
        assert f"| {system} | {' | '.join(figures)} |" in note, "as the page prints them"
    assert parent.data.params["models.simlm.encoder_mask"] == "0.3"
    assert parent.data.tags["simlm.corpus_sha256"]
    assert parent.inputs.dataset_inputs[0].dataset.digest == parent.data.tags["simlm.corpus_sha256"][:36]
    assert runs["train.distilled"].data.metrics["test/mrr_10"] == table["distilled", "test", "RR@10"]

    # Every system is a model that MLflow compares, although no weights are in MLflow.
    models = {model.name: {metric.key: metric.value for metric in model.metrics} for model in client.search_logged_models(["1"])}
    assert set(models) == set(made.experiment.evaluate.systems)
    assert models["fusion"]["test/mrr_10"] == table["fusion", "test", "RR@10"]


def test_pairs_of_the_headline_system_are_tags_and_all_pairs_a_file(few, store):
    found = pairs(few.context)
    write_pairs(found, few.paths.pairs)
    mirror(few.experiment, few.paths, store)
    client, parent, _ = children(few, store)
    chosen = headline_system(few.experiment)
    expected = {f"simlm.pair.{pair.test.system}.{pair.test.against}": pair.text for pair in found if chosen in (pair.test.system, pair.test.against)}
    assert len(expected) == len(few.experiment.evaluate.systems) - 1
    assert {name: text for name, text in parent.data.tags.items() if name.startswith("simlm.pair.")} == expected
    assert "pairs.json" in {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_a_replay_changes_nothing(few, store):
    first = mirror(few.experiment, few.paths, store)
    client, _, before = children(few, store)
    again = mirror(few.experiment, few.paths, store)
    assert (again.written, again.unchanged) == (0, len(before))
    assert again.parent == first.parent
    assert {name: run["run_id"] for name, run in again.runs.items()} == {name: run["run_id"] for name, run in first.runs.items()}
    assert len(all_runs(client)) == len(before) + 1
    assert len(client.get_metric_history(first.runs["train.simlm"]["run_id"], "loss")) == 20
    assert len(client.get_metric_history(first.parent, "test/mrr_10")) == 1
    assert len(client.search_logged_models(["1"])) == 1


def test_a_stage_computed_anew_takes_the_place_of_its_run(few, store):
    first = mirror(few.experiment, few.paths, store)
    few.stage("train.distilled", key="f" * 16)
    again = mirror(few.experiment, few.paths, store)
    client, _, runs = children(few, store)
    assert again.written == 1
    assert again.parent == first.parent
    assert again.runs["train.distilled"]["run_id"] != first.runs["train.distilled"]["run_id"]
    assert client.get_run(first.runs["train.distilled"]["run_id"]).info.lifecycle_stage == "deleted"
    assert [run.data.tags[identity.STAGE] for run in all_runs(client)].count("train.distilled") == 1
    assert runs["train.simlm"].info.run_id == first.runs["train.simlm"]["run_id"]


def test_another_configuration_is_another_parent_with_all_stages(few, store, tmp_path):
    mirror(few.experiment, few.paths, store)
    models = few.experiment.model_dump(mode="json")["models"]
    models["distilled"]["learning_rate"] = 5e-4
    models = {name: {key: value for key, value in block.items() if value is not None} for name, block in models.items()}
    other = MadeResults(tmp_path / "results", models=models)
    for file in (other.paths.root / "stages").glob("*.json"):
        if file.stem not in ("train.simlm", "train.distilled"):
            file.unlink()
    done = mirror(other.experiment, other.paths, store)
    client, _ = initialise(store)
    parents = [run for run in all_runs(client) if run.data.tags[identity.STAGE] == "experiment"]
    assert len(parents) == 2
    assert done.written == len(read_stages(other.experiment, other.paths))


def test_shards_and_threads_of_an_embedding_do_not_change_the_identity(made, tmp_path):
    more = MadeResults(tmp_path / "other", encoding={"shards": 4, "threads": 1, "processes": 2})
    assert identity.parent_key(more.experiment) == identity.parent_key(made.experiment)
    values = made_configuration(tmp_path / "fourth")["models"]
    one = MadeResults(tmp_path / "fourth", models=values | {"control": values["control"] | {"threads": 1}})
    assert identity.parent_key(one.experiment) != identity.parent_key(made.experiment), "of a training they change the last digits"
    changed = MadeResults(tmp_path / "third", seed=7)
    assert identity.parent_key(changed.experiment) != identity.parent_key(made.experiment)


def test_an_interrupted_replay_goes_on_where_it_stopped(few, store, monkeypatch):
    import simlm.tracking.mirror as module

    real, calls = module.stage_artifacts, []

    def breaks(stage, paths):
        calls.append(stage.name)
        if stage.name == "train.simlm":
            raise ConnectionError("gone")
        return real(stage, paths)

    monkeypatch.setattr(module, "stage_artifacts", breaks)
    with pytest.raises(ConnectionError):
        mirror(few.experiment, few.paths, store)
    monkeypatch.setattr(module, "stage_artifacts", real)
    done = mirror(few.experiment, few.paths, store)
    client, _, runs = children(few, store)
    assert done.unchanged == len(calls) - 1
    assert len(client.get_metric_history(runs["train.simlm"].info.run_id, "loss")) == 20
    assert len(all_runs(client)) == len(runs) + 1


def test_a_replay_cut_off_after_it_made_a_model_makes_no_second_one(few, store):
    first = mirror(few.experiment, few.paths, store)
    client, _ = initialise(store)
    run_id = first.runs["train.distilled"]["run_id"]
    (model,) = client.search_logged_models(["1"])
    for tag in ("simlm.model_id", "simlm.evaluated"):
        client.delete_tag(run_id, tag)
    mirror(few.experiment, few.paths, store)
    assert [other.model_id for other in client.search_logged_models(["1"])] == [model.model_id]
    assert client.get_run(run_id).data.tags["simlm.model_id"] == model.model_id


def test_live_points_are_not_logged_twice(few, store):
    record = json.loads(few.paths.record("train.simlm").read_text())
    live = LiveMirror(few.context, "train.simlm", record["key"])
    for line in few.paths.history("simlm").read_text().splitlines()[:10]:
        values = json.loads(line)
        live.log(values.pop("step"), values)
    live.close(60)
    again = LiveMirror(few.context, "train.simlm", record["key"])
    again.log(10, {"loss": 1.0})
    again.close(60)
    client, _, runs = children(few, store)
    run_id = runs["train.simlm"].info.run_id
    assert len(client.get_metric_history(run_id, "loss")) == 9, "ten lines, one of them the probe's"
    done = mirror(few.experiment, few.paths, store)
    assert done.runs["train.simlm"]["run_id"] == run_id
    assert len(client.get_metric_history(run_id, "loss")) == 20


def test_other_threads_instructions_or_precision_are_another_run(few, store):
    file, found = few.paths.record("train.simlm"), []
    for threads, instructions, precision in ((1, "AVX512", "fp32"), (1, "AVX512", "fp32"), (2, "AVX512", "fp32"), (2, "AVX2", "fp32"), (2, "AVX2", "bf16")):
        record = json.loads(file.read_text())
        record["hardware"] |= {"threads": threads, "instructions": instructions}
        record["notes"]["precision"] = f"{precision}: this machine's"
        file.write_text(json.dumps(record))
        found.append(mirror(few.experiment, few.paths, store).runs)
    runs = [each["train.simlm"]["run_id"] for each in found]
    assert runs[0] == runs[1]
    assert len(set(runs)) == len({each["train.simlm"]["key"] for each in found}) == 4
    assert len({each["train.distilled"]["run_id"] for each in found}) == 1
    _, _, children_now = children(few, store)
    assert children_now["train.simlm"].data.tags["simlm.hardware.instructions"] == "AVX2"


def test_a_dead_server_never_fails_a_training(made, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    live = LiveMirror(made.context, "train.simlm", "k")
    live.log(1, {"loss": 1.0})
    live.thread.join(30)
    live.log(2, {"loss": 1.0})
    live.close(5)
    assert "`simlm track` will mirror them" in capsys.readouterr().err


def test_track_warns_when_the_server_is_down_and_completes_later(few, store, monkeypatch, capsys):
    config = ["--config", str(few.paths.config)]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["track", *config]) == 0
    assert "Warning: MLflow at http://127.0.0.1:9 cannot be used" in capsys.readouterr().err
    assert json.loads(few.paths.mirror.read_text())["complete"] is False
    assert main(["track", *config, "--strict"]) == 2
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["track", *config, "--init"]) == 0
    assert main(["track", *config]) == 0
    written = json.loads(few.paths.mirror.read_text())
    assert written["complete"] is True
    assert "train.distilled" in written["stages"]
