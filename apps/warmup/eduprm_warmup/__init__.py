"""The command `uv run apps/warmup`: teach a small policy to solve generated problems step by step."""
