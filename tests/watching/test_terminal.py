"""What a workflow prints: one line after a job, the cause last after a failure, and the time to go."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import time
from pathlib import Path

import pytest

from simlm.cli import main, parser_of
from simlm.commands.summary import next_commands
from simlm.config import load_experiment
from simlm.config.stages import canonical, settings_of
from simlm.corpus.store import CorpusStore
from simlm.paths import Paths
from simlm.planning.remaining import Remaining
from simlm.watching.progress import Progress, Watched, read_progress, share_done
from simlm.watching.terminal import Terminal, clock, is_noise, line

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experiment():
    return load_experiment(ROOT / "config/smoke.yaml")


@pytest.fixture
def paths(tmp_path, experiment) -> Paths:
    return Paths(tmp_path / experiment.name)


def measured(experiment, paths: Paths, seconds) -> dict[str, float]:
    """Benchmark files as Snakemake leaves them, of jobs that took ``seconds(label)``."""
    took = {}
    for job in Remaining(experiment, paths, 2, 0, before={})._jobs:
        took[job.label] = seconds(job.label)
        file = paths.benchmark(job.label)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"s": took[job.label], "params": {"settings": canonical(settings_of(experiment, *job))}}) + "\n")
    return took


def record(event: str | None, message: str = "", **values) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, message, None, None)
    made.__dict__.update(event=event, **values)
    return made


def start(terminal: Terminal, number: int, what: str, log: str) -> None:
    terminal.handle(record("job_info", jobid=number, rule_msg=what, rule_name="train", log=[log]))


# time to go


def test_one_core_needs_the_sum_and_many_the_longest_chain(experiment, paths):
    took = measured(experiment, paths, lambda label: 10.0 if label.startswith("train.") else 1.0)
    one, many = Remaining(experiment, paths, 1, 0), Remaining(experiment, paths, 64, 0)
    assert one.seconds(took, {}, {}) == pytest.approx(sum(took.values()))
    # base → simlm → retriever1 → retriever2 → distilled is the longest chain of trainings, and other jobs lie between them
    assert 50 < many.seconds(took, {}, {}) < sum(took.values()) - 20


def test_what_has_ended_corrects_what_is_left(experiment, paths):
    took = measured(experiment, paths, lambda label: 10.0)
    remaining = Remaining(experiment, paths, 1, 0)
    half = list(took)[: len(took) // 2]
    left = [label for label in took if label not in half]
    as_then = remaining.seconds(left, {}, dict.fromkeys(half, 10.0))
    twice_as_slow = remaining.seconds(left, {}, dict.fromkeys(half, 20.0))
    assert as_then == pytest.approx(10.0 * len(left))
    assert 1.8 < twice_as_slow / as_then <= 2.0


def test_a_running_job_is_as_far_as_its_log_says(experiment, paths):
    measured(experiment, paths, lambda label: 10.0)
    remaining = Remaining(experiment, paths, 1, 0)
    assert remaining.seconds([], {"train.base": (4.0, None)}, {}) == pytest.approx(6.0)
    # An hour's work says more than the last run: a quarter is done, so that three hours are left.
    assert remaining.seconds([], {"train.base": (3600.0, 0.25)}, {}) == pytest.approx(3 * 3600, rel=0.1)
    # Seconds say more of the start of the job.
    assert remaining.seconds([], {"train.base": (4.0, 0.1)}, {}) < 12
    assert remaining.seconds([], {"train.base": (40.0, None)}, {}) == pytest.approx(4.0), "longer than expected: it cannot be over yet"


def test_times_of_other_settings_do_not_count(experiment, paths, tmp_path):
    measured(experiment, paths, lambda label: 10.0)
    (tmp_path / "longer.yaml").write_text("models: {base: {steps: 5000}}\n")
    longer = load_experiment(ROOT / "config/smoke.yaml", tmp_path / "longer.yaml")
    before = Remaining(longer, paths, 1, 0).before
    assert "train.base" not in before
    assert before["train.generator"] == 10.0
    paths.benchmark("prepare_corpus").unlink()
    assert not Remaining(experiment, paths, 1, 0).before, "without the time of the corpus nothing says that it was this one"


def test_the_share_is_the_newest_of_a_log(tmp_path):
    log = tmp_path / "train.base.log"
    log.write_text("100% of the passages fill the 48 tokens\nbase 5/10 (50%)  loss 3\nbase 7/10 (70%)  3 s to go  loss 2\n")
    assert share_done(str(log)) == 0.7


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("Encoding passages: 5 of 33 (15%), 32 min 7 s to go, 0.0 blocks of 1024/s", 0.15),
        ("Mining negatives from bm25: 1,000 of 5,000 (20%), 40 s to go, 25 queries/s", 0.2),
        ("Tokenizing passages: 2 of 2 (100%), 0 s to go, 0.1 blocks/s", None),
        ("Searching 'dev' with BM25: 20 of 500 (4%), 20 s to go, 1 items/s", None),
    ],
)
def test_the_share_of_a_part_is_not_that_of_the_job(tmp_path, line, share):
    """Tokenized texts are not yet re-ranked, and a search begins anew with every split."""
    log = tmp_path / "job.log"
    log.write_text(f"Beginning.\n{line}\n")
    assert share_done(str(log)) == share


# lines


def test_lines_name_what_ended_and_the_log_of_what_runs(experiment, paths):
    measured(experiment, paths, lambda label: 10.0)
    said = io.StringIO()
    terminal = Terminal(paths, lambda: Remaining(experiment, paths, 2, 0), lambda: None, said)
    terminal.begin({"train.base": "Training base", "train.generator": "Training generator"}, 2, 0)
    assert "2 jobs on 2 cores, about 10 s by the times of the last run" in said.getvalue()
    start(terminal, 1, "Training base", "logs/train.base.log")
    start(terminal, 2, "Training generator", "logs/train.generator.log")
    assert read_progress(paths).running == ["train.base", "train.generator"]
    terminal.handle(record("job_finished", job_id=1))
    terminal._say_ended()
    assert re.search(r"^1/2  0:0\d gone  0:\d\d to go  Training base 0:0\d  → logs/train.generator.log$", said.getvalue(), re.MULTILINE)
    terminal.handle(record("job_finished", job_id=2))
    assert terminal.end().startswith("2 jobs in ")
    assert read_progress(paths).ended


def test_a_narrow_terminal_keeps_the_times_and_the_path():
    log = "results/pydocs/logs/train.retriever1.log"
    progress = Progress(time.time() - 65, 2, 0, jobs={"a": Watched("Training a", "a.log", 1.0, 2.0), "train.retriever1": Watched("Training", log, 3.0)})
    whole = line(progress, 1, 130.0, "Mining hard negatives from bm25 0:14", 200)
    assert whole == f"1/2  1:05 gone  2:10 to go  Mining hard negatives from bm25 0:14  → {log}"
    assert line(progress, 1, 130.0, "Mining hard negatives from bm25 0:14", 80) == f"1/2  1:05 gone  2:10 to go  → {log}"
    assert clock(3661) == "1:01:01"


def test_the_cause_is_the_last_line(experiment, paths, tmp_path):
    said, log = io.StringIO(), tmp_path / "train.base.log"
    terminal = Terminal(paths, lambda: Remaining(experiment, paths, 2, 0), lambda: None, said)
    terminal.begin({"train.base": "Training base", "train.simlm": "Training simlm"}, 2, 0)
    start(terminal, 1, "Training base", str(log))
    log.write_text("Training base\nsimlm train: base: the loss is nan at step 3; lower learning_rate\n")
    terminal.handle(record("job_error", jobid=1, rule_msg=None, rule_name="train", log=[str(log)]))
    terminal.stop()
    lines = said.getvalue().splitlines()
    assert lines[-1] == "simlm train: base: the loss is nan at step 3; lower learning_rate"
    assert lines[-2].startswith("Stopped: 0 jobs in")
    assert read_progress(paths).failed == ["train.base"]


def test_a_log_without_our_sentence_is_shown(experiment, paths, tmp_path):
    said, log = io.StringIO(), tmp_path / "train.base.log"
    terminal = Terminal(paths, lambda: Remaining(experiment, paths, 2, 0), lambda: None, said)
    terminal.begin({"train.base": "Training base"}, 2, 0)
    start(terminal, 1, "Training base", str(log))
    log.write_text("Traceback (most recent call last):\n  File\nZeroDivisionError: division by zero\n")
    terminal.handle(record("job_error", jobid=1, rule_msg=None, rule_name="train", log=[str(log)]))
    terminal.stop()
    assert "Traceback" in said.getvalue()
    assert said.getvalue().splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_noise_is_left_out_and_what_matters_is_not():
    for message in ("Select jobs to execute...", "Execute 1 jobs...", "Building DAG of jobs...", "Complete log(s): x"):
        assert is_noise(record(None, message))
    assert is_noise(record("job_finished", "Finished jobid: 4 (Rule: train)"))
    for message in ("Trying to restart job 4.", "Terminating processes on user request, this might take some time.", "MissingOutputException in rule train"):
        assert not is_noise(record(None, message))


# simlm status


def test_status_from_another_terminal(experiment, paths, tmp_path, capsys, monkeypatch):
    measured(experiment, paths, lambda label: 10.0)
    log = tmp_path / "train.base.log"
    log.write_text("base 5/10 (50%)  30 s to go  loss 3\n")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    jobs = {"prepare_corpus": Watched("Reading", "", now - 40, now - 30), "train.base": Watched("Training base", str(log), now - 30), "encode.x": Watched("E")}
    progress = Progress(now - 40, 1, 0, jobs=jobs, before={"train.base": 10.0})
    progress.write(paths)
    arguments = ["status", "--config", str(ROOT / "config/smoke.yaml"), "--results", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "smoke: 1 of 3 jobs done, 40 s gone, about 1" in said
    assert "base 5/10 (50%)  30 s to go  loss 3" in said
    progress.process = 2**22 + 1  # above the highest process id of Linux
    progress.write(paths)
    assert main(arguments) == 0
    assert "the workflow was killed" in capsys.readouterr().out
    progress.ended, jobs["train.base"].failed = now, "simlm train: no"
    progress.write(paths)
    assert main(arguments) == 1
    assert "simlm train: no" in capsys.readouterr().out


def test_status_without_a_workflow_is_a_sentence(tmp_path, capsys):
    assert main(["status", "--config", str(ROOT / "config/smoke.yaml"), "--results", str(tmp_path)]) == 2
    assert "has said how far it is" in capsys.readouterr().err


# what the end of a run prints


def test_the_commands_at_the_end_can_be_typed(searchable, capsys):
    """One per line with a remark behind it; the search is a real query of the main split, quoted for the shell."""
    commands = [shlex.split(command, comments=True) for command in next_commands(searchable)]
    assert [words[1] for words in commands] == ["search", "serve", "compare"]
    assert commands[0][-1] in CorpusStore(searchable.paths.corpus).queries("test").values()
    for words in commands:
        parser_of(words[1]).parse_args(words[2:])
    assert main([*commands[0][1:], "--system", "bm25"]) == 0
    assert "swap" in capsys.readouterr().out
