"""What an experiment will cost: arithmetic, memory and disk of every stage, before anything runs."""
