"""Configuration: typed models of the experiment file, and the graph of models it describes."""

from simlm.config.experiment import Experiment
from simlm.config.load import load_experiment, merge, read_values, validate

__all__ = ["Experiment", "load_experiment", "merge", "read_values", "validate"]
