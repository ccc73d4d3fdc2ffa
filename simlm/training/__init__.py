"""Training: masks, groups of passages, losses and the common use of transformers' Trainer."""
