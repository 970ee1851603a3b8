"""Where the user name and the password for a Redis server come from.

A URL may contain them. It is better if it only refers to them: with ``password_file=PATH`` or
``password_env=NAME`` after the ``?``. Then the URL may be in a state file, a command line or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from yak_net.metadata.redis_url import split

OPTIONS: Final = ("username", "password", "password_file", "password_env")
"""Options of a URL for the login; those for the Sentinels have the prefix ``sentinel_``."""

_SENTINEL: Final = "sentinel_"


def with_environment(url: str, environment: Mapping[str, str]) -> str:
    """Return ``url`` with the login of the environment variables, unless it has one itself.

    The variables are YAK_REDIS_USERNAME, YAK_REDIS_PASSWORD and YAK_REDIS_PASSWORD_FILE, and for
    Sentinels YAK_REDIS_SENTINEL_USERNAME and so on. The URL gets no password, only the name of its
    file or variable. Raises ValueError if a password has two sources.
    """
    parts = split(url)
    if parts is None:
        return url
    added: dict[str, str] = {}
    for prefix in ("", _SENTINEL) if parts.sentinel else ("",):
        variable = f"YAK_REDIS_{prefix.upper()}"
        user, _, password = (parts.login if prefix == "" else "").partition(":")
        name = environment.get(f"{variable}USERNAME", "")
        if name and not user and f"{prefix}username" not in parts.options:
            added[f"{prefix}username"] = name
        if password or any(f"{prefix}{each}" in parts.options for each in OPTIONS[1:]):
            continue
        has_password = environment.get(f"{variable}PASSWORD", "") != ""
        path = environment.get(f"{variable}PASSWORD_FILE", "")
        if path and has_password:
            raise ValueError(
                f"{variable}PASSWORD and {variable}PASSWORD_FILE exclude each other; set one"
            )
        if path:
            added[f"{prefix}password_file"] = str(Path(path).absolute())
        elif has_password:
            added[f"{prefix}password_env"] = f"{variable}PASSWORD"
    if not added:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(added)}"


def variables_of(url: str) -> tuple[str, ...]:
    """Return the names of the environment variables that contain the passwords of ``url``."""
    parts = split(url)
    options = {} if parts is None else parts.options
    names = [options.get(f"{prefix}password_env", ()) for prefix in ("", _SENTINEL)]
    return tuple(name for each in names for name in each)


def take_login(
    options: dict[str, Any], environment: Mapping[str, str], prefix: str = ""
) -> dict[str, str]:
    """Remove the login from ``options``, and return ``username`` and ``password`` if they exist.

    Raises ValueError if the password is not where the options say.
    """
    given = {name: str(options.pop(f"{prefix}{name}", None) or "") for name in OPTIONS}
    user, password, path, variable = given.values()
    sources = [f"{prefix}{name}" for name in OPTIONS[1:] if given[name]]
    if len(sources) > 1:
        raise ValueError(f"the Redis URL has {' and '.join(sources)}; give one of them")
    if variable:
        password = environment.get(variable, "")
        if not password:
            raise ValueError(
                f"the Redis URL takes a password from the environment variable {variable}, which "
                f"is not set; set it, or use {prefix}password_file"
            )
    if path:
        password = _read(path, f"{prefix}password_file")
    return {name: text for name, text in (("username", user), ("password", password)) if text}


def _read(path: str, option: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ValueError(
            f"cannot read the password file {path} of the Redis URL: {error.strerror}; correct "
            f"{option}"
        ) from None
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise ValueError(
            f"the password file {path} of the Redis URL must have one line of text; correct "
            f"{option}"
        )
    return text
