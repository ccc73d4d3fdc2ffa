"""What is searched after an experiment: its evaluated corpus, or that with the passages that were added since."""
