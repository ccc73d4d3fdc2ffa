# Configuration, corpus and vocabulary.


localrules:
    write_config,


rule write_config:
    output:
        PATHS.config,
    log:
        PATHS.log("write_config"),
    benchmark:
        PATHS.benchmark("write_config")
    resources:
        mem_mb=100,
        runtime=5,
    params:
        source=CONFIGURATION,
    message:
        "Writing the resolved configuration"
    shell:
        "cp {params.source:q} {output:q} > {log:q} 2>&1"


rule prepare_corpus:
    input:
        corpus_files,
    output:
        manifest=PATHS.corpus / "manifest.json",
        record=PATHS.record("prepare_corpus"),
    log:
        PATHS.log("prepare_corpus"),
    benchmark:
        PATHS.benchmark("prepare_corpus")
    threads: share(1)
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=settings("prepare_corpus"),
        code=code("prepare_corpus"),
    message:
        "Reading passages, queries and judgements"
    shell:
        'simlm prepare-corpus --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule train_tokenizer:
    input:
        corpus=rules.prepare_corpus.output.manifest,
        start=local_files(EXPERIMENT.tokenizer.init),
    output:
        manifest=PATHS.tokenizer / "manifest.json",
        record=PATHS.record("train_tokenizer"),
    log:
        PATHS.log("train_tokenizer"),
    benchmark:
        PATHS.benchmark("train_tokenizer")
    threads: share(2)
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("train_tokenizer"),
        code=code("train_tokenizer"),
    message:
        "Making the vocabulary"
    shell:
        'simlm train-tokenizer --config "$SIMLM_CONFIG" > {log:q} 2>&1'
