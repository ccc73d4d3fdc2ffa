"""Judge the runs of all evaluated systems on all evaluated splits with ir-measures: per query and on average.

    simlm evaluate --config config/config.yaml

Any TREC run can be judged by hand (judgements in TREC or BEIR form):

    simlm evaluate --run BM25.dl19.trec --qrels dl19.tsv --relevance 2 --metrics nDCG@10 RR@10

Passages with equal scores keep the order of the run file; judged queries that the run lacks count as zero.
"""

from __future__ import annotations

from simlm.context import Context


def evaluate(context: Context) -> None:
    """Write averages, values per query and the record."""
    from simlm.config.metrics import beyond
    from simlm.evaluation.judge import evaluate_systems

    settings, paths = context.experiment.evaluate, context.paths
    with context.record("evaluate") as record:
        for sentence in beyond(settings.metrics, settings.depth):
            record.caution(sentence)
        for (system, split), evaluation in evaluate_systems(paths, settings, settings.systems, list(settings.splits)).items():
            if evaluation.caution:
                record.caution(f"{system} on {split}: {evaluation.caution}")
            record.metrics |= {f"{split}/{system}/{name}": value for name, value in evaluation.averages.items()}
            record.outputs |= {f"{system}/{split}": paths.metrics(system, split), f"{system}/{split}/per_query": paths.per_query(system, split)}
