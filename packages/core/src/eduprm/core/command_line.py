"""Command lines from settings models: flags first, then the TOML file that `--config` names, then defaults.

For the apps. A mistake is answered by one line per setting that names the flag, what was expected and what came,
never by a traceback.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tomllib
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from eduprm.core.arguments import flags_of, may_be_path, plain_arguments, without_none
from eduprm.core.disk import disk_fault
from eduprm.core.errors import UnfinishedError
from eduprm.core.errors import UsageError as UsageError
from eduprm.core.errors import first_line as first_line
from eduprm.core.errors import quoted as quoted

EXIT_FINE, EXIT_UNUSABLE, EXIT_UNFINISHED, EXIT_STOPPED = 0, 2, 3, 130
"""Exit statuses: done; the command could not be carried out; done but for rows that the report names; Ctrl-C."""
_IN_PLAIN_WORDS = {
    "model_type": "expected a table of settings",
    "dict_type": "expected a table of names and values",
    "path_type": "expected a path",
}
"""Of pydantic's error types whose own message names Python classes."""
_GOES_ON = "what is written is whole, and the same command goes on from there"


def exit_status(name: str, run: Callable[[], int | None]) -> int:
    """Run a command and say on standard error what stopped it, a line for each fault.

    Args:
        name: stands before every line.
        run: does it; None is 0.
    """
    try:
        return run() or EXIT_FINE
    except (UsageError, UnfinishedError) as error:
        for line in str(error).splitlines():
            print(f"{name}: {line}", file=sys.stderr)
        return EXIT_UNUSABLE if isinstance(error, UsageError) else EXIT_UNFINISHED
    except KeyboardInterrupt:
        print(f"{name}: stopped; the same command goes on from here", file=sys.stderr)
        return EXIT_STOPPED
    except Exception as error:
        refused = disk_fault(error)
        if refused is None:
            raise
        print(f"{name}: {refused}; make room or choose another place: {_GOES_ON}", file=sys.stderr)
        return EXIT_UNUSABLE


def quiet_libraries() -> None:
    """Let libraries speak up for errors only; what the user should know, an app says itself."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for library in ("transformers", "huggingface_hub"):  # the second reports each try to reach the hub
        logging.getLogger(library).setLevel(logging.ERROR)
    for category in (FutureWarning, SyntaxWarning):
        warnings.filterwarnings("ignore", category=category)


class CommandSettings(BaseSettings):
    """Base of an app's settings: frozen, kebab-case flags, no environment variables.

    A subclass with a field `config: Path | None` can be given a TOML recipe.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        # One flag of a part changes that setting alone, not the rest of the part back to its class's defaults.
        nested_model_default_partial_update=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
    )
    command: ClassVar[str] = "uv run apps/train"

    def __init__(self, **values: Any) -> None:
        # pydantic-settings adds a table to the default's, one in a part that Python gives whole too.
        super().__init__(**without_none(type(self), values))

    @field_validator("*", mode="before")
    @classmethod
    def _path_of_something(cls, value: Any, info: ValidationInfo) -> Any:
        # Path reads it as the current folder: of a variable that is not set, say.
        if value == "" and may_be_path(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("expected a path")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and the TOML file only, so that a command says all there is."""
        return (init_settings,)


S = TypeVar("S", bound=CommandSettings)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows defaults that are empty, or begin or end with a blank, as Python writes them: a line break is '\\n'."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        return (
            None
            if text is None
            else re.sub(r"\(default: (|\s.*|.*\s)\)$", _quoted_default, text, flags=re.DOTALL)
        )


def _quoted_default(found: re.Match[str]) -> str:
    # Help is wrapped at blanks, which would make one in quotes look like a line break.
    return "(default: one blank)" if found[1] == " " else f"(default: {found[1]!r})"


def load_settings(settings: type[S], arguments: Sequence[str]) -> S:
    """Read the command line, and the TOML file that it names.

    Raises:
        UsageError: one line per wrong setting.
        SystemExit: for --help.
    """
    if odd := [word for word in arguments if not _encodable(word)]:
        raise UsageError(f"expected arguments in UTF-8, got {quoted(odd[0])}")
    recipe: dict[str, Any] = {}
    given, cleared = plain_arguments(settings, arguments)
    path = _config_path(given)
    try:
        recipe = {} if path is None else without_none(settings, read_toml(path))
        source: CliSettingsSource[Any] = CliSettingsSource(settings, formatter_class=_HelpFormatter)
        return CliApp.run(settings, given, cli_settings_source=source, **_merged(recipe, cleared))
    except ValidationError as error:
        lines = [_error_line(item, settings, recipe, path) for item in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None
    except SettingsError as error:
        text = first_line(error).removeprefix("error parsing CLI: ")
        meant = _nearest_flags(settings, text)
        raise UsageError(f"{text}; {meant}`{settings.command} --help` lists every flag") from None


def _encodable(word: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


def _nearest_flags(settings: type[CommandSettings], text: str) -> str:
    """What was probably meant by the unknown flags that a message names; empty where nothing comes near."""
    known = flags_of(settings)
    unknown = [word.partition("=")[0].rstrip(":") for word in text.split() if word.startswith("--")]
    near = [get_close_matches(flag.replace("_", "-"), known, n=1, cutoff=0.75) for flag in unknown]
    found = list(dict.fromkeys(one for names in near for one in names if one not in unknown))
    return f"did you mean {', '.join(found)}? " if found else ""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, dashes in names read as underscores.

    Raises:
        UsageError: no such file, not TOML, a name given twice, or another recipe named.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config: cannot read {path} ({error.strerror}); name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config: {path} is not valid TOML: {first_line(error)}") from None
    if "config" in values:
        raise UsageError(f"--config: {path} names another recipe, {quoted(values['config'])}; write one file")
    return _underscored(values, path)


def _underscored(values: dict[str, Any], path: Path) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in read:
            raise UsageError(f"--config: {path} gives {name} twice, with dashes and with underscores")
        read[name] = _underscored(value, path) if isinstance(value, dict) else value
    return read


def _merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(values)
    for name, value in over.items():
        inner = both.get(name)
        both[name] = (
            _merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
        )
    return both


def _config_path(arguments: Sequence[str]) -> Path | None:
    named = [argument for argument in arguments if argument.startswith("--config=")]
    return Path(named[-1].partition("=")[2]) if named else None


def _error_line(item: Any, settings: type[CommandSettings], recipe: dict[str, Any], path: Path | None) -> str:
    """Turn one of pydantic's errors into "--flag: expected ..., got ..."."""
    location = [str(part) for part in item["loc"]]
    positional = location[:1] == ["file"]
    flag = "FILE" if positional else "--" + ".".join(location).replace("_", "-")
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        return message
    if item["type"] == "missing":
        return f"{flag}: expected a value, got none; see `{settings.command} --help`"
    if item["type"] == "extra_forbidden":
        message = f"there is no such setting; {_nearest_flags(settings, flag)}"
        message += f"`{settings.command} --help` lists every one"
    message = _IN_PLAIN_WORDS.get(item["type"], message)
    for opening in ("Input should be ", "String should have ", "String should match "):
        if message.startswith(opening):
            message = "expected " + message.removeprefix(opening)
    source = f" in {path}" if location and location[0] in recipe else ""
    value = item["input"]
    shown = quoted(dict(value) if isinstance(value, MappingProxyType) else value)
    got = "" if ", got " in message else f", got {shown}"
    return f"{flag}: {message}{got}{source}"
