"""BM25: analyzers, index and search."""
