"""Shares in Samba's registry, and those that stand in smb.conf until they are taken over.

State: {mark, params, source}; source is "registry", "file", or "both" when a crash or a person left a share that was
taken over in smb.conf, too. Registry shares are written in one transaction for a whole batch, and need no reload.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import joined, principals, registry, sections
from .core import SMB_CONF, Object, Refused, rewrite, run, seal, unseal

MARK = registry.MARK
LISTS = ("valid users", "invalid users", "read list", "write list", "admin users")


class Share(Object):
    def __init__(self) -> None:
        self._registry: Any = None
        self._open_transaction = False
        self._parking: list[str] = []  # sections to comment out when the transaction has been committed
        self._conf = Conf()

    def get(self, name: str, options: dict[str, Any]) -> Any:
        title = sections.title(name)
        params, scan = self._conf.params(), self._conf.scan
        if title in scan.varying:
            raise Refused(f"{name} is also set in a file that smb.conf includes for some clients only")
        held = self._stored(name)
        mark = unseal(held.pop(MARK, None), name.lower()) if held is not None else None
        if title not in params:
            return None if held is None else {"mark": mark, "params": held, "source": "registry"}
        if held is not None and mark:
            return {"mark": mark, "params": held, "source": "both"}
        if held is not None:
            raise Refused(f"{name} stands in smb.conf and in Samba's registry", "", "remove the one that is not used")
        return {"mark": None, "params": self._conf.effective().get(title, params[title]), "source": "file"}

    def torn(self, name: str, state: Any, after: Any, options: dict[str, Any]) -> bool:
        return bool(state and state["source"] == "both")

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        """A crash in here leaves a share in both places, never in none."""
        self._open(create=True)
        if self._registry is None:
            raise Refused("Samba's Python module is missing", "", "apt-get install python3-samba")
        if after is not None and after["source"] == "file":
            _save(sections.unpark(name))
        elif before and before["source"] != "registry":
            self._may_park(name)
        # Whatever can't be written is told before anything is gone; a list that comes back is as it was.
        turned = principals.to_sids if after is not None and after.get("mark") else _as_it_is
        pairs = list(_listed(after["params"], turned).items()) if after is not None else []
        if before and before["source"] != "file":
            self._registry.delete_share(name)
        if after is not None and after["source"] == "registry":
            if after.get("mark"):
                pairs.append((MARK, seal(after["mark"], name.lower())))
            self._registry.create_set_share(name, pairs)
        if before and before["source"] != "registry" and not (after and after["source"] == "file"):
            self._park(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing for what is set inside; far faster than one by one."""
        self._open(create=True)
        if self._registry is None:
            yield
            return
        self._registry.transaction_start()
        self._open_transaction, self._parking = True, []
        try:
            yield
        except BaseException:
            self._registry.transaction_cancel()
            raise
        finally:
            self._open_transaction = False
        self._registry.transaction_commit()
        for name in self._parking:
            _save(sections.park(name))

    def marks(self) -> dict[str, str | None]:
        """The names in the registry with their marks."""
        self._open()
        names = self._registry.share_names() if self._registry else []
        return {name: unseal((self._stored(name) or {}).get(MARK), name.lower()) for name in names if name != "global"}

    def conf(self) -> Conf:
        return self._conf

    def paths(self) -> dict[str, str]:
        """{folder: share} of all shares, whoever made them; of a path with a macro, what comes before that."""
        found = {name: params.get("path", "") for name, params in self._conf.params().items()}
        self._open()
        for name in self._registry.share_names() if self._registry else []:
            found[name] = (self._stored(name) or {}).get("path", "")
        return {path.partition("%")[0].rstrip("/"): name for name, path in found.items() if path.startswith("/")}

    def _may_park(self, name: str) -> None:
        others = self._conf.scan.copiers(sections.title(name))
        if others:
            raise Refused(
                f"section {others[0]} of smb.conf copies {name}", "", "take that one over first, or leave this one"
            )

    def _park(self, name: str) -> None:
        if self._open_transaction:
            self._parking.append(name)
            return
        try:
            _save(sections.park(name))
        except BaseException:
            self._registry.delete_share(name)
            raise

    def _stored(self, name: str) -> dict[str, str] | None:
        self._open()
        found = None if self._registry is None else registry.stored(self._registry, name)
        return None if found is None else _listed(found, principals.to_names)

    def _open(self, create: bool = False) -> None:
        if self._registry is None:
            self._registry = registry.connect(create)


def _as_it_is(words: str) -> str:
    return words


def _listed(params: dict[str, str], turned: Callable[[str], str]) -> dict[str, str]:
    """The parameters with the names of a domain as SIDs, or the other way round; as they are on a host in no domain."""
    member = turned is principals.to_sids and joined.NOTE.exists()
    if not (member or principals.known()):
        return params
    found = {name: params[name] for name in LISTS if name in params}
    return params | {name: turned(words) for name, words in found.items() if "\\" in words or "S-1-" in words}


class Conf:
    """smb.conf as it is, read again only when one of its files has changed."""

    def __init__(self) -> None:
        self.scan = sections.Scan(False)
        self._seen: Any = None
        self._params: dict[str, dict[str, str]] = {}
        self._effective: dict[str, dict[str, str]] | None = None

    def params(self) -> dict[str, dict[str, str]]:
        """Sections with their parameters as written, without [global]; none where Samba does not look at them."""
        if self._seen is None or self._seen != self._signs():
            self.scan = sections.scan()
            self._seen, self._effective = self._signs(), None
            found = self.scan.params()
            ignored = found.pop("global").get("config backend", "").lower() == "registry"
            self._params = {} if ignored else found
        return self._params

    def effective(self) -> dict[str, dict[str, str]]:
        """What testparm makes of them: copies, includes and synonyms resolved, defaults left out."""
        if self._effective is None:
            self._effective = {sections.title(name): found for name, found in testparm().items()}
        return self._effective

    def _signs(self) -> Any:
        found = []
        for path in {SMB_CONF, *self.scan.files}:
            try:
                now = os.stat(path)
                found.append((path, now.st_ino, now.st_mtime_ns, now.st_size))
            except OSError:
                found.append((path, 0, 0, 0))
        return sorted(found)


def testparm(*arguments: str) -> dict[str, dict[str, str]]:
    """The effective configuration: {section: {parameter: value}}. Raises Refused. testparm(1)"""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in run(["testparm", "-s", "--suppress-prompt", *arguments]).split("\n"):
        if line.startswith("[") and line.endswith("]"):
            section = found.setdefault(line[1:-1], {})
        elif " = " in line and line.startswith("\t"):
            name, _, value = line[1:].partition(" = ")
            section[name] = value
    return found


def _save(texts: dict[str, str]) -> None:
    for path, text in texts.items():
        rewrite(Path(path), text)
