"""Passages, queries and judgements: the sources they come from and the store they end in."""
