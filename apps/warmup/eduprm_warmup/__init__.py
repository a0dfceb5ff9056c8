"""The command `uv run apps/warmup`: teach a small policy to solve problems step by step."""
