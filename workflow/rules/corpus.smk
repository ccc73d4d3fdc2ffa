# Configuration, corpus and vocabulary.


localrules:
    write_config,
    download,


rule write_config:
    output:
        PATHS.config,
    log:
        PATHS.log("write_config"),
    benchmark:
        PATHS.benchmark("write_config")
    # Before any stage: each puts the configuration there where it is missing, and Snakemake would wonder at the file.
    priority: URGENT + 1
    resources:
        mem_mb=100,
        runtime=5,
    params:
        source=CONFIGURATION,
    message:
        "Writing the resolved configuration"
    shell:
        "cp {params.source:q} {output:q} > {log:q} 2>&1"


# On the machine that Snakemake runs on: compute nodes may have no network.
rule download:
    output:
        writes("download"),
    log:
        log_of("download"),
    benchmark:
        benchmark_of("download")
    threads: threads("download")
    resources:
        **needs("download"),
    # No params: a change of them would run this rule again, and Snakemake then looks at nothing that depends on it, so
    # that the model whose `init` was changed would be left as it is. Its own job fetches what is new.
    message:
        "Fetching what is needed from elsewhere"
    shell:
        simlm("download")


rule prepare_corpus:
    input:
        reads("prepare_corpus"),
        downloads=downloads(),
    output:
        writes("prepare_corpus"),
    log:
        log_of("prepare_corpus"),
    benchmark:
        benchmark_of("prepare_corpus")
    priority: URGENT
    threads: threads("prepare_corpus")
    resources:
        **needs("prepare_corpus"),
    params:
        **reasons("prepare_corpus"),
    message:
        "Reading passages, queries and judgements"
    shell:
        simlm("prepare_corpus")


# Without made queries the store is whole as it was read.
if EXPERIMENT.corpus.made_queries:

    rule make_queries:
        input:
            reads("make_queries"),
        output:
            writes("make_queries"),
        log:
            log_of("make_queries"),
        benchmark:
            benchmark_of("make_queries")
        priority: URGENT
        threads: threads("make_queries")
        resources:
            **needs("make_queries"),
        params:
            **reasons("make_queries"),
        message:
            "Making queries of the passages"
        shell:
            simlm("make_queries", launched=f"{GPUS} {MINUTES}")


rule train_tokenizer:
    input:
        reads("train_tokenizer"),
        downloads=downloads(),
    output:
        writes("train_tokenizer"),
    log:
        log_of("train_tokenizer"),
    benchmark:
        benchmark_of("train_tokenizer")
    priority: URGENT
    threads: threads("train_tokenizer")
    resources:
        **needs("train_tokenizer"),
    params:
        **reasons("train_tokenizer"),
    message:
        "Making the vocabulary"
    shell:
        simlm("train_tokenizer")
