"""What an experiment made, in the forms that other programs read."""
