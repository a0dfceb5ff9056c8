"""Without SGLang (the extra `sglang`) the engine in this process cannot be imported, so no doctest is looked for in it."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("sglang") else ["src/eduprm/search/sglang/in_process.py"]
