"""Rank the solutions of a JSONL or Parquet file with a process reward model, chunk by chunk."""
