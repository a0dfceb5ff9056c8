"""The API key of a server, from an environment variable that a flag names: it is sent, and said and kept nowhere."""

from __future__ import annotations

import os

from eduprm.core.errors import UsageError


def api_key(variable: str, *, flag: str) -> str:
    """The key.

    Args:
        variable: name of the environment variable.
        flag: that names it, for messages.

    Raises:
        UsageError: it holds none, or one that no header can hold. The message does not repeat it.

    Examples:
        >>> import os
        >>> os.environ["A_KEY"] = "abc"
        >>> api_key("A_KEY", flag="--server.key-env")
        'abc'
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"{flag}: expected a key in the environment variable {variable}, which is not set; set it"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"{flag}: expected a key of printable ASCII without blanks in {variable}, got others; mend it"
        )
    return key
