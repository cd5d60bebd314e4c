"""Secrets are resolved at the last moment, and travel on stdin only."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from smbplan.drivers.home import expanded

REFERENCE = "$secret"
LONGEST = 2**16  # bytes of a secret file
WIDE = (b"\xff\xfe", b"\xfe\xff")  # as djoin.exe and `net offlinejoin` write


def references(data: Any) -> Iterator[Any]:
    """The sources of all that would be resolved in the data."""
    left = [data]
    for each in left:  # grows meanwhile
        if isinstance(each, str):  # as most of it is
            continue
        if isinstance(each, Mapping):
            if REFERENCE in each:
                yield each[REFERENCE]
            left += each.values()
        elif isinstance(each, list | tuple):
            left += each


class MissingSecret(Exception):
    """Says which source has no secret. Never holds one."""

    def __init__(self, summary: str, hint: str) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


class Secrets:
    """Resolves references, each source once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def resolve(self, data: Any) -> Any:
        """A copy of the data with every {"$secret": …} replaced. Raises MissingSecret."""
        if isinstance(data, Mapping):
            if REFERENCE in data:
                return self._one(data[REFERENCE])
            return {name: self.resolve(value) for name, value in data.items()}
        if isinstance(data, list | tuple):
            return [self.resolve(value) for value in data]
        return data

    def _one(self, source: Mapping[str, Any]) -> str:
        name = repr(sorted(source.items()))
        if name not in self._known:
            self._known[name] = _read(source)
        return self._known[name]


def _read(source: Mapping[str, Any]) -> str:
    if source.get("env"):
        value = os.environ.get(source["env"], "")
        if not value:
            raise MissingSecret(f"environment variable {source['env']} is not set", f"export {source['env']}=…")
        if "\n" in value.rstrip("\n"):
            raise MissingSecret(f"the secret in {source['env']} has several lines", "a secret is one line of text")
        return _one_line(value, source["env"])
    if source.get("file"):
        path = source["file"]
        try:
            path = expanded(path)
            with path.open("rb") as file:
                data = file.read(LONGEST + 1)
            if len(data) > LONGEST:
                raise MissingSecret(f"secret file {path} is longer than {LONGEST} bytes", "is it the right one?")
            text = data.decode("utf-16" if data.startswith(WIDE) else "utf-8").rstrip("\0")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "neither UTF-8 nor UTF-16"
            raise MissingSecret(f"secret file {path}: {reason}", "create it, readable by you only") from None
        return _one_line(text, str(path))
    command = list(source["command"])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingSecret(f"secret command {command[0]}: {error.__class__.__name__}", "run it by hand") from None
    except UnicodeDecodeError:  # which holds the secret
        raise MissingSecret(f"what secret command {command[0]} prints is not UTF-8", "run it by hand") from None
    if done.returncode:
        raise MissingSecret(f"secret command {command[0]} failed ({done.returncode})", "run it by hand")
    return _one_line(done.stdout, command[0])


def _one_line(text: str, source: str) -> str:
    value = text.split("\n", 1)[0].rstrip("\r")
    if not value:
        raise MissingSecret(f"the secret from {source} is empty", "a secret is the first line, and not empty")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise MissingSecret(f"the secret from {source} holds a control character", "a secret is one line of text")
    return value
