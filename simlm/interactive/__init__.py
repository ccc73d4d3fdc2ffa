"""Trained systems for a person: one query at the terminal, or a page that compares two systems."""
