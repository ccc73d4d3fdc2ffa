# One rule trains every kind of model: the kind's block says what it reads, so a new kind needs no rule of its own.


for name, part, systems, outputs in rules_of("train"):

    rule:
        name:
            name
        input:
            reads("train"),
            downloads=downloads(),
        output:
            # Checkpoints and history are no outputs: Snakemake would delete them before a resumed job starts.
            writes("train", outputs=outputs),
        log:
            log_of("train"),
        benchmark:
            benchmark_of("train")
        wildcard_constraints:
            model=any_of(systems),
        priority: urgency
        threads: threads("train")
        resources:
            **needs("train"),
        params:
            **reasons("train"),
        message:
            "Training {wildcards.model}"
        shell:
            simlm("train", "--keep-checkpoint", f"{GPUS} {PROCESSES} {MINUTES}")


rule import_model:
    input:
        reads("import_model"),
        downloads=downloads(),
    output:
        writes("import_model", outputs=[PATHS.model("{model}") / "simlm.json"]),
    log:
        log_of("import_model"),
    benchmark:
        benchmark_of("import_model")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "import_model")),
    priority: urgency
    threads: threads("import_model")
    resources:
        **needs("import_model"),
    params:
        **reasons("import_model"),
    message:
        "Taking over the published model {wildcards.model}"
    shell:
        simlm("import_model")


rule score_teacher:
    input:
        reads("score_teacher"),
    output:
        writes("score_teacher"),
    log:
        log_of("score_teacher"),
    benchmark:
        benchmark_of("score_teacher")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "score_teacher")),
    # The student itself waits for it.
    priority: lambda wildcards: 1 + urgency(wildcards)
    threads: threads("score_teacher")
    resources:
        **needs("score_teacher"),
    params:
        **reasons("score_teacher"),
    message:
        "Scoring the passages that {wildcards.model} will see with its teacher"
    shell:
        simlm("score_teacher", launched=f"{GPUS} {MINUTES}")
