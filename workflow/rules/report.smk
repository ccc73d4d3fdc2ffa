# The report and the MLflow mirror, both made from the files of the other stages.


localrules:
    mirror_results,


RECORDS = record_names(EXPERIMENT, gather.corpus("{scatteritem}"))


rule write_report:
    input:
        config=PATHS.config,
        table=rules.compare_systems.output.table,
        comparisons=rules.compare_systems.output.comparisons,
        per_query=rules.evaluate_systems.output.per_query,
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
        mem_mb=4000,
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
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("track"),
        code=code("track"),
    message:
        "Mirroring the results to MLflow"
    shell:
        'simlm track --config "$SIMLM_CONFIG" > {log:q} 2>&1'
