"""Exact token entropy and the runner-up token from an SGLang server, for the requests that ask.

Importing this needs neither SGLang nor torch: a client may take the names of the fields from here.
"""

from eduprm.sglang.versions import PLUGIN_VERSION, SUPPORTED, IncompatibleSGLang
from eduprm.sglang.wire import ASK, BLOCKS, FIELDS, NULL_ID, PLUGIN_FIELD, asks, with_entropy

__all__ = [
    "ASK",
    "BLOCKS",
    "FIELDS",
    "NULL_ID",
    "PLUGIN_FIELD",
    "PLUGIN_VERSION",
    "SUPPORTED",
    "IncompatibleSGLang",
    "asks",
    "with_entropy",
]
