"""The report: one HTML file that opens offline and holds everything a reader needs to judge an experiment."""
