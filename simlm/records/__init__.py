"""The record every stage leaves, and what reads them."""
