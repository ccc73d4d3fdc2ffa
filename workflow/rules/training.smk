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
        threads: lambda wildcards: share(threads_of(block_of(wildcards)))
        resources:
            gpu=lambda wildcards: block_of(wildcards).gpus,
            processes=lambda wildcards: block_of(wildcards).processes or 1,
            mem_mb=growing(16000),
            runtime=2880,
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
    threads: share(1)
    resources:
        mem_mb=8000,
        runtime=60,
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
    threads: lambda wildcards: share(block_of(wildcards).threads)
    resources:
        gpu=one_gpu,
        mem_mb=growing(16000),
        runtime=1440,
    params:
        **reasons("score_teacher"),
    message:
        "Scoring the passages that {wildcards.model} will see with its teacher"
    shell:
        simlm("score_teacher", launched=f"{GPUS} {MINUTES}")
