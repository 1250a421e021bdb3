"""What a user has chosen for all shells: a file in TOML, and where files of a user are.

    keys = "vi"                    # or "emacs"
    mode = "json"                  # or "text"
    pager = "less -FRX"            # or "" for none
    color = "never"                # or "auto", "always"
    timer = true
    safe = false
    startup = ["scope status"]     # lines that run before the first prompt

    [aliases]
    last = "scan --reverse --limit 1"

    [colors]                       # styles of prompt_toolkit for the parts of a line
    command = "bold"

Precedence: option, then environment, then this file, then the default.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from lsmcli.commands.files import file_error
from lsmcli.engine.errors import StateError
from lsmcli.formats.esc import safe_text

PAGER_DEFAULT: Final = "less -FRX"
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "keys": ("emacs", "vi"),
    "mode": ("text", "json"),
    "color": ("auto", "always", "never"),
}
SIZE_MAX: Final = 1 << 20


class Settings(NamedTuple):
    """The settings of a shell. pager: None if the file does not say."""

    keys: str = "emacs"
    mode: str = "text"
    color: str = "auto"
    pager: str | None = None
    timer: bool = False
    safe: bool = False
    startup: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    colors: Mapping[str, str] = {}


def folder(variable: str, default: str) -> str:
    """A folder of the XDG Base Directory specification: of the variable if it is absolute, else below home."""
    value = os.environ.get(variable, "")
    return os.path.join(value if os.path.isabs(value) else os.path.expanduser(default), "lsmcli")


def config_path() -> str:
    """Where the settings are looked for if no option names a file."""
    return os.path.join(folder("XDG_CONFIG_HOME", "~/.config"), "config.toml")


def load(path: str | None) -> Settings:
    """The settings of a file; of the usual one, which may be missing, for None. FileError, StateError."""
    name = config_path() if path is None else path
    try:
        with open(name, "rb") as stream:
            text = stream.read(SIZE_MAX)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if path is None:
            return Settings()
        raise file_error(name, error) from None
    except OSError as error:
        raise file_error(name, error) from None
    import tomllib

    try:
        return settings_of(tomllib.loads(text.decode()))
    except (ValueError, RecursionError) as error:
        raise StateError(f"{safe_text(name)}: {safe_text(str(error))}") from None


def settings_of(table: Mapping[str, Any]) -> Settings:
    """The settings of a TOML table. ValueError for what is no setting, or has a wrong value."""
    for name, value in table.items():
        if name not in Settings._fields:
            raise ValueError(f"no setting {name!r}: one of {', '.join(Settings._fields)}")
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}")
        elif name == "pager":
            if not isinstance(value, str):
                raise ValueError("pager is a command in quotes")
        elif name in ("timer", "safe"):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false")
        elif name == "startup":
            if not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
                raise ValueError("startup is a list of lines in quotes")
        elif not (isinstance(value, dict) and all(isinstance(text, str) for text in value.values())):
            raise ValueError(f"{name} is a table of names and texts in quotes")
    return Settings(**{**table, "startup": tuple(table.get("startup", ()))})


def pager_of(settings: Settings) -> str:
    """The command that shows what is longer than the screen: environment, then file, then PAGER, then less."""
    chosen = os.environ.get("LSMCLI_PAGER")
    if chosen is None:
        chosen = settings.pager
    if chosen is None:
        chosen = os.environ.get("PAGER") or PAGER_DEFAULT
    return chosen
