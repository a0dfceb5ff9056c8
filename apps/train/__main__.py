"""`uv run apps/train`: grow EDU trees, label them, train a PRM on them and judge it."""

import sys

from eduprm_train.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
