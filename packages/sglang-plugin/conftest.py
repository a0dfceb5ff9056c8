"""Without SGLang (the extra `sglang`) this package is not installed: its modules and tests are left out."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("sglang") else ["src/*"]
