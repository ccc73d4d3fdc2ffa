"""Search of vectors: a faiss index, the shards themselves, and late interaction; all are built, opened and asked alike."""
