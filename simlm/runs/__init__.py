"""Runs and negatives: what the stations hand to each other."""
