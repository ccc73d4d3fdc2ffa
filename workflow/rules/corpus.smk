# Configuration, corpus and vocabulary.


localrules:
    write_config,
    download_inputs,


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
        "{{ cp {params.source:q} {output:q} && sync {output:q}; }} > {log:q} 2>&1"


# On the machine that Snakemake runs on: compute nodes may have no network.
rule download_inputs:
    output:
        inputs=PATHS.inputs,
        record=PATHS.record("download_inputs"),
    log:
        PATHS.log("download_inputs"),
    benchmark:
        PATHS.benchmark("download_inputs")
    threads: share(1)
    resources:
        mem_mb=4000,
        runtime=1440,
    # No params: a change of them would run this rule again, and Snakemake then looks at nothing that depends on it, so
    # that the model whose `init` was changed would be left as it is. Its own job fetches what is new.
    message:
        "Fetching what is needed from elsewhere"
    shell:
        'simlm download --config "$SIMLM_CONFIG" > {log:q} 2>&1'


rule prepare_corpus:
    input:
        downloads=downloads(),
        files=corpus_files,
    output:
        manifest=PATHS.corpus / "manifest.json",
        record=PATHS.record("prepare_corpus"),
    log:
        PATHS.log("prepare_corpus"),
    benchmark:
        PATHS.benchmark("prepare_corpus")
    priority: URGENT
    # Docstrings are parsed in two processes; every other source is read in one.
    threads: share(2 if EXPERIMENT.corpus.source == "python_docs" else 1)
    resources:
        mem_mb=growing(8000),
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
        downloads=downloads(),
        start=local_files(EXPERIMENT.tokenizer.init),
    output:
        manifest=PATHS.tokenizer / "manifest.json",
        record=PATHS.record("train_tokenizer"),
    log:
        PATHS.log("train_tokenizer"),
    benchmark:
        PATHS.benchmark("train_tokenizer")
    priority: URGENT
    threads: share(1 if EXPERIMENT.tokenizer.init else 2)
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings("train_tokenizer"),
        code=code("train_tokenizer"),
    message:
        "Making the vocabulary"
    shell:
        'simlm train-tokenizer --config "$SIMLM_CONFIG" > {log:q} 2>&1'
