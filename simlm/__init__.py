"""SimLM (arXiv 2207.02578) as a reproducible experiment pipeline."""

__version__ = "0.1.0"
