"""Shares in Samba's registry, and those that stand in smb.conf until they are taken over.

State: {mark, params, source}; source is "registry" or "file". Registry shares are written in one transaction for a
whole batch, and need no reload.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .core import SMB_CONF, Object, Refused, read_text, samba_settings, seal, unseal, write
from .files import park_section, parse, unpark_section

MARK = "smbplan:mark"


class Share(Object):
    def __init__(self) -> None:
        self._registry: Any = None
        self._file: tuple[str, dict[str, dict[str, str]]] = ("", {})

    def get(self, name: str, options: dict[str, Any]) -> Any:
        in_file = self._sections().get(name.lower())
        if in_file is not None:
            return {"mark": None, "params": in_file, "source": "file"}
        stored = self._stored(name)
        if stored is None:
            return None
        sealed = stored.pop(MARK, None)
        return {"mark": unseal(sealed, name.lower()), "params": stored, "source": "registry"}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        self._open(create=True)
        if self._registry is None:
            raise Refused("Samba's Python module is missing", "", "apt-get install python3-samba")
        if before and before["source"] == "registry":
            self._registry.delete_share(name)
        if after is not None and after["source"] == "registry":
            pairs = list(after["params"].items())
            if after.get("mark"):
                pairs.append((MARK, seal(after["mark"], name.lower())))
            self._registry.create_set_share(name, pairs)
        self._hand_over(name, before, after)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing for what is set inside; far faster than one by one."""
        self._open(create=True)
        if self._registry is None:
            yield
            return
        self._registry.transaction_start()
        try:
            yield
        except BaseException:
            self._registry.transaction_cancel()
            raise
        self._registry.transaction_commit()

    def names(self) -> list[str]:
        self._open()
        stored = self._registry.share_names() if self._registry else []
        return sorted({*stored, *self._sections()} - {"global"})

    def _hand_over(self, name: str, before: Any, after: Any) -> None:
        was, will = (state is not None and state["source"] == "file" for state in (before, after))
        path = Path(SMB_CONF)
        if was and not will:
            write(path, park_section(read_text(path) or "", name), 0o644)
        elif will and not was:
            write(path, unpark_section(read_text(path) or "", name), 0o644)

    def _stored(self, name: str) -> dict[str, str] | None:
        self._open()
        if self._registry is None:
            return None
        try:
            return dict(self._registry.get_share(name)[1])
        except Exception as error:  # the binding raises its own untyped error
            if "NO_SUCH_SERVICE" in str(error):
                return None
            raise Refused(f"Samba's registry can't be read: {error}") from None

    def _open(self, create: bool = False) -> None:
        if self._registry is None:
            try:
                from samba.samba3 import smbconf

                settings = samba_settings()
            except ImportError:
                return  # no Samba yet, so no shares
            if create or os.path.exists(settings.state_path("registry.tdb")):
                self._registry = smbconf.init_reg(None)

    def _sections(self) -> dict[str, dict[str, str]]:
        text = read_text(Path(SMB_CONF)) or ""
        if self._file[0] != text:
            self._file = (text, parse(text))
        return self._file[1]
