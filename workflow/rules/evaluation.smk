# Judging the runs.


rule evaluate:
    input:
        reads("evaluate"),
    output:
        writes("evaluate"),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    threads: threads("evaluate")
    resources:
        **needs("evaluate"),
    params:
        **reasons("evaluate"),
    message:
        "Judging all runs"
    shell:
        simlm("evaluate")


rule compare_systems:
    input:
        reads("compare_systems"),
    output:
        report(PATHS.metrics_table, caption="../report/metrics.rst", category="Results"),
        report(
            PATHS.comparisons, caption="../report/comparisons.rst", category="Results"
        ),
        [PATHS.variants, PATHS.variant_tests] if EXPERIMENT.variants else [],
        PATHS.record("compare_systems"),
    log:
        log_of("compare_systems"),
    benchmark:
        benchmark_of("compare_systems")
    threads: threads("compare_systems")
    resources:
        **needs("compare_systems"),
    params:
        **reasons("compare_systems"),
    message:
        "Comparing the systems"
    shell:
        simlm("compare_systems")


rule judge_reproduction:
    input:
        reads("judge_reproduction"),
    output:
        report(
            PATHS.reproduction,
            caption="../report/reproduction.rst",
            category="Results",
        ),
        PATHS.record("judge_reproduction"),
    log:
        log_of("judge_reproduction"),
    benchmark:
        benchmark_of("judge_reproduction")
    threads: threads("judge_reproduction")
    resources:
        **needs("judge_reproduction"),
    params:
        **reasons("judge_reproduction"),
    message:
        "Comparing the figures with published ones"
    shell:
        simlm("judge_reproduction")
