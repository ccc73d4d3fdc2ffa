"""The MLflow mirror. Files are the source of truth; everything here can be repeated at any time."""
