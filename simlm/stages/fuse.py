"""Fuse the runs of several systems by reciprocal rank or by their scores, for all evaluated splits.

    simlm fuse --config config/config.yaml --model fusion
    simlm fuse --config config/config.yaml --model fusion --splits train

`of` of the model's block names the systems whose runs are fused, `by` says of what, `k` is the constant of the ranks' formula, `weights` how much each
counts; `auto` and `best` are chosen on held-out training queries. `--splits train` gives the Parquet run to `negatives.depth`
from which negatives are mined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from simlm.context import Context

if TYPE_CHECKING:
    from simlm.records.record import StageRecord


def fuse(
    context: Context,
    name: Annotated[str, "fusion of the graph"],
    splits: Annotated[list[str] | None, "`train`: the run of the training queries, to be mined (default: the judged splits)"] = None,
) -> None:
    """Write the fused runs and the record."""
    from simlm.corpus.store import CorpusStore
    from simlm.errors import UserError
    from simlm.progress import progress
    from simlm.retrieval.fusion import fuse_runs, fusing
    from simlm.retrieval.weights import choose
    from simlm.runs.found import Found
    from simlm.runs.made import MadeRun
    from simlm.runs.runs import read_run, read_train_run

    if splits not in (None, ["train"]):
        raise UserError(f"--splits takes `train` alone, for the run to be mined, not {' '.join(splits)}; leave it out for the judged splits")
    paths, experiment = context.paths, context.experiment
    settings, mined = experiment.system(name), splits is not None
    with context.record("fuse", name, "train" if mined else None) as record:
        store = CorpusStore(paths.corpus)
        weights = settings.weights
        if settings.learns:
            choice = choose(context, name, store)
            weights = choice.weights
            _note(record, name, settings.of, choice)
        for split in ["train"] if mined else experiment.evaluate.splits:
            run = MadeRun.of(context, name, split, mined)
            queries, own = list(store.queries(split)), store.own_rows(split)
            runs = [read_train_run(paths.train_run(part)) if mined else read_run(paths.run(part, split), store) for part in settings.of]
            fuse_lists = fusing(settings.by, settings.k, Found.asked(run.depth, own), weights)
            fused = Found(fuse_runs(runs, queries, fuse_lists), run.depth, own)
            run.write(progress(fused, len(queries), f"Fusing {', '.join(settings.of)} on '{split}'", unit="queries"), store, record)


def _note(record: StageRecord, name: str, of: list[str], choice) -> None:
    """Say which weights were chosen, and by what."""
    from simlm.progress import say

    record.metrics |= {f"weight/{part}": weight for part, weight in zip(of, choice.weights)}
    if choice.value is None:
        record.caution(
            f"{name}: the weights of {' and '.join(of)} are equal, for only {choice.queries} training queries were held out from all trainings behind them; "
            "give the models one seed and a holdout, or numbers as weights"
        )
        return
    shares = ", ".join(f"{part} {weight:g}" for part, weight in zip(of, choice.weights))
    alone = ", ".join(f"{part} {value:.4f}" for part, value in zip(of, choice.alone))
    text = f"{shares}: {choice.metric} {choice.value:.4f} on {choice.queries} held-out training queries (alone: {alone})"
    record.notes["weights"] = text
    record.metrics |= {f"held_out/{choice.metric}": choice.value}
    say(f"{name}: {text}")
