# The report and the MLflow mirror, both made from the files of the other stages.


localrules:
    mirror_results,
    enforce_gate,


RECORDS = record_names(EXPERIMENT, shards_of)


rule write_report:
    input:
        config=PATHS.config,
        table=rules.compare_systems.output.table,
        comparisons=rules.compare_systems.output.comparisons,
        per_query=rules.evaluate_systems.output.per_query,
        reproduction=[PATHS.reproduction] if is_reproduction(EXPERIMENT) else [],
        records=[PATHS.record(name) for name in RECORDS],
        measurements=[PATHS.benchmark(name) for name in RECORDS],
    output:
        html=report(PATHS.report, caption="../report/report.rst", category="Report"),
        record=PATHS.record("report"),
    log:
        PATHS.log("report"),
    benchmark:
        PATHS.benchmark("report")
    threads: share(1)
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        settings=settings("report"),
        code=code("report"),
    message:
        "Writing the report"
    shell:
        'simlm report --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule mirror_results:
    input:
        config=PATHS.config,
        report=rules.write_report.output.html,
        record=rules.write_report.output.record,
        records=rules.write_report.input.records,
    output:
        PATHS.mirror,
    log:
        PATHS.log("track"),
    benchmark:
        PATHS.benchmark("track")
    threads: share(1)
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings("track"),
        code=code("track"),
    message:
        "Mirroring the results to MLflow"
    shell:
        'simlm track --config "$SIMLM_CONFIG" > {log:q} 2>&1'


# Last of all: a figure that was not reproduced fails the workflow, but only after everything else is written.
rule enforce_gate:
    input:
        table=PATHS.reproduction,
        report=rules.write_report.output.html,
        mirror=rules.mirror_results.output,
    output:
        touch(str(PATHS.gate)),
    log:
        PATHS.log("enforce_gate"),
    benchmark:
        PATHS.benchmark("enforce_gate")
    threads: share(1)
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "Asking whether every published figure was reproduced"
    shell:
        'simlm judge-reproduction --config "$SIMLM_CONFIG" --gate --only-read > {log:q} 2>&1'
