"""Which tokens are bare symbols, at which no step may begin.

The paper (EDU-PRM, arXiv 2503.22233) skips a symbol list that is not public. Our reading: white space, and Unicode
punctuation (categories P*). Note what that takes in: ``*``, ``/``, ``-`` and ``%`` are punctuation to Unicode,
while ``+``, ``=``, ``<`` and ``$`` are not.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=1 << 17)  # a vocabulary's worth: token texts repeat
def is_symbol(text: str) -> bool:
    """Whether a token's decoded text is empty, white space, or white space and punctuation only.

    Examples:
        >>> [is_symbol(text) for text in ("", " \\n", ").", " +", "=", "a.", "7")]
        [True, True, True, False, False, False, False]
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a token's text as a string, got {type(text).__name__}")
    return all(char.isspace() or unicodedata.category(char).startswith("P") for char in text)
