# The report and the MLflow mirror, both made from the files of the other stages.


localrules:
    track,
    enforce_gate,


rule report:
    input:
        reads("report"),
    output:
        report(PATHS.report, caption="../report/report.rst", category="Report"),
        PATHS.pairs,
        PATHS.record("report"),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    threads: threads("report")
    resources:
        **needs("report"),
    params:
        **reasons("report"),
    message:
        "Writing the report"
    shell:
        simlm("report")


rule track:
    input:
        reads("track"),
    output:
        PATHS.mirror,
    log:
        log_of("track"),
    benchmark:
        benchmark_of("track")
    threads: threads("track")
    resources:
        **needs("track"),
    params:
        **reasons("track"),
    message:
        "Mirroring the results to MLflow"
    shell:
        simlm("track")


# Last of all: a figure that was not reproduced fails the workflow, but only after everything else is written.
rule enforce_gate:
    input:
        reads("enforce_gate"),
    output:
        touch(str(PATHS.gate)),
    log:
        log_of("enforce_gate"),
    benchmark:
        benchmark_of("enforce_gate")
    threads: threads("enforce_gate")
    resources:
        **needs("enforce_gate"),
    message:
        "Asking whether every published figure was reproduced"
    shell:
        simlm("enforce_gate")
