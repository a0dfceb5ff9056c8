"""Pages of jobs: one module each."""
