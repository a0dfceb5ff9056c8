"""Benchmarks of steps on disk: rows in, scores by way of chunks, report and page out."""
