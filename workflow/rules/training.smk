# One rule trains every kind of model: the kind's block says what it reads, so a new kind needs no rule of its own.


rule train_model:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        tokenizer=rules.train_tokenizer.output.manifest,
        downloads=downloads(),
        models=models_read,
        negatives=negatives_read,
        bm25=lambda wildcards: lexical_index(wildcards.model),
        teacher_scores=teacher_scores_read,
    output:
        # Checkpoints and history are no outputs: Snakemake would delete them before a resumed job starts.
        manifest=manifest_of("{model}"),
        record=PATHS.record("train.{model}"),
    log:
        PATHS.log("train.{model}"),
    benchmark:
        PATHS.benchmark("train.{model}")
    wildcard_constraints:
        model=any_of(made_by("train")),
    priority: urgency
    threads: lambda wildcards: share(threads_of(EXPERIMENT.models[wildcards.model]))
    resources:
        gpu=lambda wildcards: EXPERIMENT.models[wildcards.model].gpus,
        processes=lambda wildcards: EXPERIMENT.models[wildcards.model].processes or 1,
        mem_mb=growing(16000),
        runtime=2880,
    params:
        settings=settings("train"),
        code=trainer_code,
    message:
        "Training {wildcards.model}"
    shell:
        "python -m simlm.devices --gpus {resources.gpu} --processes {resources.processes} --minutes {resources.runtime} -- "
        'train --config "$SIMLM_CONFIG" --model {wildcards.model:q} --keep-checkpoint > {log:q} 2>&1'


rule import_model:
    input:
        downloads=downloads(),
        files=lambda wildcards: local_files(EXPERIMENT.models[wildcards.model].init),
    output:
        manifest=manifest_of("{model}"),
        record=PATHS.record("import_model.{model}"),
    log:
        PATHS.log("import_model.{model}"),
    benchmark:
        PATHS.benchmark("import_model.{model}")
    wildcard_constraints:
        model=any_of(made_by("import_model")),
    priority: urgency
    threads: share(1)
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        settings=settings("import_model"),
        code=trainer_code,
    message:
        "Taking over the published model {wildcards.model}"
    shell:
        'simlm import-model --config "$SIMLM_CONFIG" --model {wildcards.model:q} > {log:q} 2>&1'


rule score_teacher:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        tokenizer=rules.train_tokenizer.output.manifest,
        teacher=lambda wildcards: manifest_of(
            teacher_of(EXPERIMENT.models[wildcards.model])
        ),
        negatives=negatives_read,
        bm25=lambda wildcards: lexical_index(
            teacher_of(EXPERIMENT.models[wildcards.model])
        ),
    output:
        scores=PATHS.teacher_scores("{model}"),
        record=PATHS.record("score_teacher.{model}"),
    log:
        PATHS.log("score_teacher.{model}"),
    benchmark:
        PATHS.benchmark("score_teacher.{model}")
    wildcard_constraints:
        model=any_of(
            name for name, block in EXPERIMENT.models.items() if teacher_of(block)
        ),
    # The student itself waits for it.
    priority: lambda wildcards: 1 + urgency(wildcards)
    threads: lambda wildcards: share(EXPERIMENT.models[wildcards.model].threads)
    resources:
        gpu=lambda wildcards: min(1, EXPERIMENT.models[wildcards.model].gpus),
        mem_mb=growing(16000),
        runtime=1440,
    params:
        settings=settings("score_teacher"),
        code=code("score_teacher"),
    message:
        "Scoring the passages that {wildcards.model} will see with its teacher"
    shell:
        'python -m simlm.devices --gpus {resources.gpu} --minutes {resources.runtime} -- score-teacher --config "$SIMLM_CONFIG" --model {wildcards.model:q} > {log:q} 2>&1'
