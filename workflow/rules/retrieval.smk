# Embedding, index, search, re-ranking and fusion.

MINED = [name for name in encoders(EXPERIMENT) if name in mined_systems(EXPERIMENT)]
RUN = [name for name in encoders(EXPERIMENT) if name in systems_with_runs(EXPERIMENT)]
BOTH = [name for name in MINED if name in RUN and "train" not in JUDGED]


rule encode_corpus:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        model=manifest_of("{model}"),
    output:
        manifest=PATHS.embeddings("{model}") / "{shard}-of-{shards}.json",
        record=PATHS.record("encode.{model}.{shard}-of-{shards}"),
    log:
        PATHS.log("encode.{model}.{shard}-of-{shards}"),
    benchmark:
        PATHS.benchmark("encode.{model}.{shard}-of-{shards}")
    wildcard_constraints:
        model=any_of(encoders(EXPERIMENT)),
        shard=r"\d+",
        shards=r"\d+",
    priority: urgency
    threads: encoding(lambda block: share(threads_of(block)))
    resources:
        gpu=encoding(lambda block: block.gpus),
        processes=encoding(lambda block: block.processes or 1),
        mem_mb=growing(8000),
        runtime=480,
    params:
        settings=settings("encode"),
        code=code("encode"),
    message:
        "Embedding shard {wildcards.shard} of {wildcards.shards} with {wildcards.model}"
    shell:
        "python -m simlm.devices --gpus {resources.gpu} --processes {resources.processes} --minutes {resources.runtime} -- "
        'encode --config "$SIMLM_CONFIG" --model {wildcards.model:q} '
        "--shard {wildcards.shard} --shards {wildcards.shards} > {log:q} 2>&1"


rule build_index:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        model=manifest_of("{model}"),
        shards=shard_inputs,
    output:
        manifest=PATHS.index("{model}") / "manifest.json",
        record=PATHS.record("build_index.{model}"),
    log:
        PATHS.log("build_index.{model}"),
    benchmark:
        PATHS.benchmark("build_index.{model}")
    wildcard_constraints:
        model=any_of(encoders(EXPERIMENT)),
    priority: urgency
    # More would wait for a training beside it, and hold up the chain.
    threads: encoding(lambda block: share(block.threads))
    resources:
        mem_mb=growing(32000),
        runtime=240,
    params:
        settings=settings("build_index"),
        code=code("build_index"),
        shards=lambda wildcards, input: len(input.shards),
    message:
        "Indexing the vectors of {wildcards.model}"
    shell:
        'simlm build-index --config "$SIMLM_CONFIG" --model {wildcards.model:q} --shards {params.shards} > {log:q} 2>&1'


# One process searches all splits that the graph needs of a model, so there are three rules for one command.
rule search_index:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        model=manifest_of("{model}"),
        index=rules.build_index.output.manifest,
    output:
        runs=[PATHS.run("{model}", split) for split in JUDGED],
        record=PATHS.record("search_index.{model}"),
    log:
        PATHS.log("search_index.{model}"),
    benchmark:
        PATHS.benchmark("search_index.{model}")
    wildcard_constraints:
        model=any_of(name for name in encoders(EXPERIMENT) if name not in BOTH),
    priority: urgency
    threads: encoding(lambda block: share(block.threads))
    resources:
        # Only an exact index is searched on a GPU; the queries were embedded with the passages.
        gpu=lambda wildcards: (
            EXPERIMENT.encoding_of(wildcards.model).gpus
            if EXPERIMENT.index_of(wildcards.model).factory == "Flat"
            else 0
        ),
        mem_mb=growing(32000),
        runtime=480,
    params:
        settings=settings("search_index"),
        code=code("search_index"),
        splits=JUDGED,
    message:
        "Searching with {wildcards.model}"
    shell:
        'python -m simlm.devices --gpus {resources.gpu} -- search-index --config "$SIMLM_CONFIG" --model {wildcards.model:q} --splits {params.splits:q} > {log:q} 2>&1'


use rule search_index as search_index_mined with:
    output:
        runs=[
            PATHS.train_run("{model}"),
            *(PATHS.run("{model}", split) for split in JUDGED),
        ],
        record=PATHS.record("search_index.{model}"),
    wildcard_constraints:
        model=any_of(BOTH),
    params:
        settings=settings("search_index"),
        code=code("search_index"),
        splits=["train", *JUDGED],


use rule search_index as search_index_train with:
    output:
        runs=[PATHS.train_run("{model}")],
        record=PATHS.record("search_index.{model}.train"),
    log:
        PATHS.log("search_index.{model}.train"),
    benchmark:
        PATHS.benchmark("search_index.{model}.train")
    wildcard_constraints:
        model=any_of(name for name in encoders(EXPERIMENT) if name not in BOTH),
    params:
        settings=settings("search_index"),
        code=code("search_index"),
        splits=["train"],


rule rerank_runs:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        model=manifest_of("{model}"),
        bm25=lambda wildcards: lexical_index(wildcards.model),
        runs=lambda wildcards: runs_of(
            EXPERIMENT.models[wildcards.model].reads_runs().values()
        ),
    output:
        runs=[PATHS.run("{model}", split) for split in JUDGED],
        record=PATHS.record("rerank.{model}"),
    log:
        PATHS.log("rerank.{model}"),
    benchmark:
        PATHS.benchmark("rerank.{model}")
    wildcard_constraints:
        model=any_of(
            name
            for name, block in EXPERIMENT.models.items()
            if block.role == "crossencoder"
        ),
    priority: urgency
    threads: lambda wildcards: share(EXPERIMENT.models[wildcards.model].threads)
    resources:
        gpu=lambda wildcards: min(1, EXPERIMENT.models[wildcards.model].gpus),
        mem_mb=growing(16000),
        runtime=1440,
    params:
        settings=settings("rerank"),
        code=code("rerank"),
    message:
        "Re-ranking with {wildcards.model}"
    shell:
        'python -m simlm.devices --gpus {resources.gpu} -- rerank --config "$SIMLM_CONFIG" --model {wildcards.model:q} > {log:q} 2>&1'


rule fuse_runs:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        runs=lambda wildcards: runs_of(
            EXPERIMENT.models[wildcards.model].reads_runs().values()
        ),
    output:
        runs=[PATHS.run("{model}", split) for split in JUDGED],
        record=PATHS.record("fuse.{model}"),
    log:
        PATHS.log("fuse.{model}"),
    benchmark:
        PATHS.benchmark("fuse.{model}")
    wildcard_constraints:
        model=any_of(
            name for name, block in EXPERIMENT.models.items() if block.kind == "fusion"
        ),
    threads: share(1)
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings("fuse"),
        code=code("fuse"),
    message:
        "Fusing runs into {wildcards.model}"
    shell:
        'simlm fuse --config "$SIMLM_CONFIG" --model {wildcards.model:q} > {log:q} 2>&1'
