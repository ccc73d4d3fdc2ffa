"""A configuration for a corpus that nobody has described yet: what is looked at, what follows from it, and how it is written down."""
