"""Fuse the runs of several systems by reciprocal rank, for all evaluated splits.

    simlm fuse --config config/config.yaml --model fusion

`of` of the model's block names the systems whose runs are fused, `k` is the constant of the formula.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def fuse(context: Context, name: Annotated[str, "fusion of the graph"]) -> None:
    """Write the fused runs of all judged splits and the record."""
    from simlm.corpus.store import CorpusStore
    from simlm.progress import progress
    from simlm.retrieval.fusion import fuse_runs
    from simlm.runs.found import Found
    from simlm.runs.runs import write_trec_run

    paths, evaluate, settings = context.paths, context.experiment.evaluate, context.experiment.system(name)
    with context.record("fuse", name) as record:
        store = CorpusStore(paths.corpus)
        for split in evaluate.splits:
            queries = list(store.queries(split))
            own = store.own_rows(split)
            runs = [paths.run(system, split) for system in settings.of]
            fused = Found(fuse_runs(runs, queries, store, settings.k, Found.asked(evaluate.depth, own)), evaluate.depth, own)
            fused = progress(fused, len(queries), f"Fusing {', '.join(settings.of)} on '{split}'", unit="queries")
            record.outputs[split] = paths.run(name, split)
            record.metrics[f"queries/{split}"] = write_trec_run(record.outputs[split], fused, store, tag=name)
