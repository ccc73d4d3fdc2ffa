"""Vectors of passages and queries: one per text or one per token, in shards with manifests."""
