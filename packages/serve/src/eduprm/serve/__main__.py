"""Start the service: `python -m eduprm.serve --prm PATH`."""

import sys

if __name__ == "__main__":
    try:
        from eduprm.serve.server.cli import main
    except ModuleNotFoundError as error:
        sys.exit(f"serve: {error.name} is not installed; the service needs the extra: eduprm-serve[server]")
    sys.exit(main(sys.argv[1:]))
