# BM25, and hard negatives from any system's run.


rule index_bm25:
    input:
        corpus=rules.prepare_corpus.output.manifest,
    output:
        manifest=PATHS.bm25 / "manifest.json",
        record=PATHS.record("index_bm25"),
    log:
        PATHS.log("index_bm25"),
    benchmark:
        PATHS.benchmark("index_bm25")
    priority: URGENT
    threads: share(1)
    resources:
        mem_mb=growing(16000),
        runtime=120,
    params:
        settings=settings("index_bm25"),
        code=code("index_bm25"),
    message:
        "Indexing the corpus for BM25"
    shell:
        'simlm index-bm25 --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule search_bm25:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        index=rules.index_bm25.output.manifest,
    output:
        runs=[
            (
                PATHS.train_run(LEXICAL)
                if split == "train" and LEXICAL in systems_mined(EXPERIMENT)
                else PATHS.run(LEXICAL, split)
            )
            for split in bm25_splits(EXPERIMENT)
        ],
        record=PATHS.record("search_bm25"),
    log:
        PATHS.log("search_bm25"),
    benchmark:
        PATHS.benchmark("search_bm25")
    priority: URGENT
    threads: share(2)
    resources:
        mem_mb=growing(16000),
        runtime=240,
    params:
        settings=settings("search_bm25"),
        code=code("search_bm25"),
        splits=bm25_splits(EXPERIMENT),
    message:
        "Searching with BM25"
    shell:
        'simlm search-bm25 --config "$SIMLM_CONFIG" --splits {params.splits:q} > {log:q} 2>&1'


rule mine_negatives:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        run=PATHS.train_run("{system}"),
    output:
        negatives=PATHS.negatives("{system}"),
        record=PATHS.record("mine_negatives.{system}"),
    log:
        PATHS.log("mine_negatives.{system}"),
    benchmark:
        PATHS.benchmark("mine_negatives.{system}")
    priority: urgency
    threads: share(1)
    resources:
        mem_mb=growing(8000),
        runtime=60,
    params:
        settings=settings("mine_negatives"),
        code=code("mine_negatives"),
    message:
        "Mining hard negatives from {wildcards.system}"
    shell:
        'simlm mine-negatives --config "$SIMLM_CONFIG" --source {wildcards.system:q} > {log:q} 2>&1'
