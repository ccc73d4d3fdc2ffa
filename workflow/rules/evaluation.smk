# Judging the runs.

JUDGEMENTS = [
    (system, split) for system in EXPERIMENT.evaluate.systems for split in JUDGED
]


rule evaluate_systems:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        runs=[PATHS.run(system, split) for system, split in JUDGEMENTS],
    output:
        metrics=[PATHS.metrics(system, split) for system, split in JUDGEMENTS],
        per_query=[PATHS.per_query(system, split) for system, split in JUDGEMENTS],
        record=PATHS.record("evaluate"),
    log:
        PATHS.log("evaluate"),
    benchmark:
        PATHS.benchmark("evaluate")
    threads: share(2)
    resources:
        mem_mb=growing(8000),
        runtime=60,
    params:
        settings=settings("evaluate"),
        code=code("evaluate"),
    message:
        "Judging all runs"
    shell:
        'simlm evaluate --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule compare_systems:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        metrics=rules.evaluate_systems.output.metrics,
        per_query=rules.evaluate_systems.output.per_query,
    output:
        table=report(
            PATHS.metrics_table, caption="../report/metrics.rst", category="Results"
        ),
        comparisons=report(
            PATHS.comparisons, caption="../report/comparisons.rst", category="Results"
        ),
        record=PATHS.record("compare_systems"),
    log:
        PATHS.log("compare_systems"),
    benchmark:
        PATHS.benchmark("compare_systems")
    threads: share(1)
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings("compare_systems"),
        code=code("compare_systems"),
    message:
        "Comparing the systems"
    shell:
        'simlm compare-systems --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule judge_reproduction:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        table=rules.compare_systems.output.table,
    output:
        table=report(
            PATHS.reproduction,
            caption="../report/reproduction.rst",
            category="Results",
        ),
        record=PATHS.record("judge_reproduction"),
    log:
        PATHS.log("judge_reproduction"),
    benchmark:
        PATHS.benchmark("judge_reproduction")
    threads: share(1)
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings("judge_reproduction"),
        code=code("judge_reproduction"),
        published=sha256_file(published_file(EXPERIMENT)),
    message:
        "Comparing the figures with published ones"
    shell:
        'simlm judge-reproduction --config "$SIMLM_CONFIG" > {log:q} 2>&1'
