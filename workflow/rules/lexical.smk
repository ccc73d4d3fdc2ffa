# BM25, and hard negatives from any system's run.


rule index_bm25:
    input:
        reads("index_bm25"),
    output:
        writes("index_bm25"),
    log:
        log_of("index_bm25"),
    benchmark:
        benchmark_of("index_bm25")
    priority: URGENT
    threads: threads("index_bm25")
    resources:
        **needs("index_bm25"),
    params:
        **reasons("index_bm25"),
    message:
        "Indexing the corpus for BM25"
    shell:
        simlm("index_bm25")


for name, part, systems, outputs in rules_of("search_bm25"):

    rule:
        name:
            name
        input:
            reads("search_bm25", part),
        output:
            writes("search_bm25", part=part, outputs=outputs),
        log:
            log_of("search_bm25", part),
        benchmark:
            benchmark_of("search_bm25", part)
        priority: URGENT
        threads: threads("search_bm25")
        resources:
            **needs("search_bm25", part),
        params:
            **reasons("search_bm25", part),
            splits=splits_of(part),
        message:
            f"Searching {queries_of(part)}with BM25"
        shell:
            simlm("search_bm25", "{params.splits}")


rule mine_negatives:
    input:
        reads("mine_negatives"),
    output:
        writes("mine_negatives"),
    log:
        log_of("mine_negatives"),
    benchmark:
        benchmark_of("mine_negatives")
    wildcard_constraints:
        model=any_of(names_of(EXPERIMENT, "mine_negatives")),
    priority: urgency
    threads: threads("mine_negatives")
    resources:
        **needs("mine_negatives"),
    params:
        **reasons("mine_negatives"),
    message:
        "Mining hard negatives from {wildcards.model}"
    shell:
        simlm("mine_negatives")
