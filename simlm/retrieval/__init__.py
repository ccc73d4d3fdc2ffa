"""Runs, negatives, encoding of the corpus, index, search, re-ranking and fusion."""
