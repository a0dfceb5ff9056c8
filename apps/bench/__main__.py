"""`uv run apps/bench COMMAND`: judge a process reward model on the field's benchmarks."""

import sys

from eduprm_bench.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
