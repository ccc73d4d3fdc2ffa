# Embedding, index, search, re-ranking and fusion.


rule encode:
    input:
        reads("encode"),
    output:
        writes("encode", "{shard}-of-{shards}"),
    log:
        log_of("encode", "{shard}-of-{shards}"),
    benchmark:
        benchmark_of("encode", "{shard}-of-{shards}")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "encode")),
        shard=r"\d+",
        shards=r"\d+",
    priority: urgency
    threads: threads("encode")
    resources:
        **needs("encode"),
    params:
        **reasons("encode"),
    message:
        "Embedding shard {wildcards.shard} of {wildcards.shards} with {wildcards.model}"
    shell:
        simlm(
            "encode",
            "--shard {wildcards.shard} --shards {wildcards.shards}",
            f"{GPUS} {PROCESSES} {MINUTES}",
        )


rule build_index:
    input:
        reads("build_index"),
    output:
        writes("build_index"),
    log:
        log_of("build_index"),
    benchmark:
        benchmark_of("build_index")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "build_index")),
    priority: urgency
    threads: threads("build_index")
    resources:
        **needs("build_index"),
    params:
        **reasons("build_index"),
        shards=lambda wildcards: len(shards_of(EXPERIMENT, wildcards.model, SHARDS)),
    message:
        "Indexing the vectors of {wildcards.model}"
    shell:
        simlm("build_index", "--shards {params.shards}")


# One process searches all judged splits of a system, another the training queries where negatives are mined from them.
for name, part, systems, outputs in rules_of("search_index"):

    rule:
        name:
            name
        input:
            reads("search_index", part),
        output:
            writes("search_index", part, outputs),
        log:
            log_of("search_index", part),
        benchmark:
            benchmark_of("search_index", part)
        wildcard_constraints:
            model=any_of(systems),
        priority: urgency
        threads: threads("search_index")
        resources:
            **needs("search_index", part),
        params:
            **reasons("search_index", part),
            splits=splits_of(part),
        message:
            f"Searching {queries_of(part)}with {{wildcards.model}}"
        shell:
            simlm("search_index", "{params.splits}", GPUS)


rule rerank:
    input:
        reads("rerank"),
    output:
        writes("rerank"),
    log:
        log_of("rerank"),
    benchmark:
        benchmark_of("rerank")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "rerank")),
    priority: urgency
    threads: threads("rerank")
    resources:
        **needs("rerank"),
    params:
        **reasons("rerank"),
    message:
        "Re-ranking with {wildcards.model}"
    shell:
        simlm("rerank", launched=GPUS)


for name, part, systems, outputs in rules_of("fuse"):

    rule:
        name:
            name
        input:
            reads("fuse", part),
        output:
            writes("fuse", part, outputs),
        log:
            log_of("fuse", part),
        benchmark:
            benchmark_of("fuse", part)
        wildcard_constraints:
            model=any_of(systems),
        priority: urgency
        threads: threads("fuse")
        resources:
            **needs("fuse", part),
        params:
            **reasons("fuse", part),
            splits=splits_of(part),
        message:
            f"Fusing runs {queries_of(part, 'of ')}into {{wildcards.model}}"
        shell:
            simlm("fuse", "{params.splits}")
