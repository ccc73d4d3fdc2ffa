"""Compare the evaluated systems: metrics.tsv with confidence intervals, comparisons.tsv with paired tests.

    simlm compare-systems --config config/config.yaml

Every system is tested against the baseline (`evaluate.baseline`) and against what it builds on in the graph (a re-ranker: the
list it sorts; a fusion: its parts; a retriever: the one it starts from, or the one that differs least; and the published model
that its weights come from); p-values are Holm-corrected over all pairs of the same split and metric. Intervals are seeded
percentile bootstraps over queries. The table of systems is printed, behind a caution for each system that is worse than what it
was made of. An experiment with variants (`seeds` of a model) also gets variants.tsv, averages over seeds with
their spread, and evaluation/variant_tests.tsv, paired tests between all variants.
"""

from __future__ import annotations

from simlm.context import Context


def compare_systems(context: Context) -> None:
    """Write the table, the tests and the record, and print both."""
    from simlm.config.graph import compared_pairs
    from simlm.evaluation import compare, variants
    from simlm.evaluation.shortfalls import shortfalls
    from simlm.evaluation.table import comparisons_text, legend, metrics_text

    experiment, paths = context.experiment, context.paths
    settings = experiment.evaluate
    splits = list(settings.splits)
    record = context.record("compare_systems")
    values = {split: compare.read_values(paths, settings.systems, split, settings.metrics) for split in splits}
    pairs = compared_pairs(experiment)
    with record:
        averages = [row for split in splits for row in compare.average_rows(values[split], split, settings, experiment.seed)]
        tests = [row for split in splits for row in compare.comparison_rows(values[split], split, pairs, settings, experiment.seed)]
        compare.write_rows(paths.comparisons, tests, compare.ComparisonRow)
        compare.write_rows(paths.metrics_table, averages, compare.MetricRow)
        record.outputs = {"metrics": paths.metrics_table, "comparisons": paths.comparisons}
        if experiment.variants:
            of = variants.variants_of(experiment)
            means = [row for split in splits for row in variants.variant_rows(values[split], of, split, settings, experiment.seed)]
            between = [row for split in splits for row in variants.variant_tests(values[split], of, split, settings, experiment.seed)]
            compare.write_rows(paths.variant_tests, between, variants.VariantTest)
            compare.write_rows(paths.variants, means, variants.VariantRow)
            record.outputs |= {"variants": paths.variants, "variant_tests": paths.variant_tests}
        for sentence in shortfalls(experiment, values[settings.main_split]):
            record.caution(sentence)
        record.metrics = {f"{row.split}/{row.system}/{row.metric}": row.value for row in averages}
    print(metrics_text(averages, splits, tests, judged=settings.splits, main=settings.main_metric))
    if experiment.variants:
        print("\n" + variants.variants_text(means, splits))
    if tests:
        print(f"\n{legend(tests)}\n\n{comparisons_text(tests, settings.main_split, settings.main_metric)}")
