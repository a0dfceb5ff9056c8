"""SGLang as the engine: in this process, behind a server's generate route, or behind a router in front of many.

`SglangServer` is the client of the latter two and loads neither sglang nor torch (but torch for bounds from top-k
log-probs); `SglangEngine` runs SGLang here.
"""

from typing import TYPE_CHECKING, Any

from eduprm.search.sglang.wire import EntropyKind

if TYPE_CHECKING:
    from eduprm.search.sglang.in_process import SglangEngine
    from eduprm.search.sglang.server import SglangServer

__all__ = ["EntropyKind", "SglangEngine", "SglangServer"]

_NEEDS = {
    "SglangServer": ("server", "sglang-client"),
    "SglangEngine": ("in_process", "sglang"),
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS:
        raise AttributeError(f"module 'eduprm.search.sglang' has no attribute {name!r}")
    module, extra = _NEEDS[name]
    import importlib

    try:
        return getattr(importlib.import_module(f"eduprm.search.sglang.{module}"), name)
    except ImportError as error:
        raise ImportError(f"eduprm.search.sglang.{name} needs eduprm-search[{extra}] ({error})") from error
