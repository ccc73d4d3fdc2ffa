"""Tokens of the corpus, made once for all stages that read them."""
