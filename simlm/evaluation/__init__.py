"""Metrics, significance tests, confidence intervals and published numbers."""
