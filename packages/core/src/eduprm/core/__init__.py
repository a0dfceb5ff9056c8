"""What every package may need and none owns. Without dependencies; command lines need the extra `cli`.

`eduprm.core.errors`: errors as one line. `eduprm.core.command_line`: settings from flags and TOML.
"""

from eduprm.core.errors import UsageError, first_line, quoted

__all__ = ["UsageError", "first_line", "quoted"]
