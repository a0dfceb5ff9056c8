"""Without SGLang (the extra `sglang`) the in-process engine cannot be imported: no doctest is looked for in it."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("sglang") else ["src/eduprm/search/sglang/in_process.py"]
