"""`uv run apps/rerank FILE`: rank sampled solutions with a process reward model."""

import sys

from eduprm_rerank.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
