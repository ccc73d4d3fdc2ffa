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
    threads: share(2)
    resources:
        mem_mb=growing(8000),
        runtime=60,
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
        PATHS.record("compare_systems"),
    log:
        log_of("compare_systems"),
    benchmark:
        benchmark_of("compare_systems")
    threads: share(1)
    resources:
        mem_mb=growing(4000),
        runtime=60,
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
    threads: share(1)
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **reasons("judge_reproduction"),
    message:
        "Comparing the figures with published ones"
    shell:
        simlm("judge_reproduction")
