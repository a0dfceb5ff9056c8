"""Seeds derived by hashing, so that neighbouring seeds and items share nothing.

`seed + index` would give seed 1, item 0 the same randomness as seed 0, item 1; a hash of both does not.
"""

from __future__ import annotations

import hashlib
import json


def derive_seed(*parts: int | str | float) -> int:
    """A 63-bit seed from any number of parts (a run's seed, a problem's id, a sample's number, ...).

    Examples:
        >>> derive_seed(0, "p1", 3) == derive_seed(0, "p1", 3)
        True
        >>> derive_seed(0, "p1", 3) == derive_seed(0, "p13")
        False
    """
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ, and so do 1 and "1".
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
