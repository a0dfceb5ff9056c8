"""`uv run apps/warmup`: teach a small policy to solve problems step by step."""

import sys

from eduprm_warmup.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
