"""What is computed: text to tokens, bottleneck, bi-encoder, cross-encoder, model folders."""
