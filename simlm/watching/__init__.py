"""What a workflow says while it runs, on its own terminal and on others."""
