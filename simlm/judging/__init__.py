"""One model on many collections, each an experiment of its own."""
