"""What pre-training asks of the states of a corrupted text: its tokens, whether they are its own, its bag of words, a decoder behind [CLS]."""
