"""What is ours on this host: enough to find it again. It only locates; the live state is the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

from .core import STATE, Refused, read_text, tidy, write

PATH = STATE / "inventory.json"


class Inventory:
    """{site: {"records": {address: record}, "peers": {gateway: connection}}}"""

    def __init__(self, path: Path = PATH) -> None:
        self._path = path
        self._sites: dict[str, Any] = self._load()

    def _load(self) -> dict[str, Any]:
        try:
            sites = json.loads(read_text(self._path) or "{}")
            if all(isinstance(site["records"], dict) and isinstance(site["peers"], dict) for site in sites.values()):
                return {str(name): site for name, site in sites.items()}
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            pass
        raise Refused(f"{self._path} is damaged", "", "restore it from a backup, or move it away and use apply --adopt")

    def site(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._sites.get(name, {"records": {}, "peers": {}})
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Of all sites."""
        for site in self._sites.values():
            yield from site["records"].values()

    def largest(self) -> list[dict[str, Any]]:
        """The records of the site that has the most."""
        return max((list(site["records"].values()) for site in self._sites.values()), key=len, default=[])

    def update(self, site: str, records: dict[str, Any]) -> None:
        """Set records; None drops one. Durable when this returns."""
        entry = self._sites.setdefault(site, {"records": {}, "peers": {}})
        before = json.dumps(entry, sort_keys=True)
        for address, record in records.items():
            if record is None:
                entry["records"].pop(address, None)
            else:
                entry["records"][address] = record
        if json.dumps(entry, sort_keys=True) != before:
            self._save(site)

    def peers(self, site: str, peers: dict[str, Any]) -> None:
        entry = self._sites.setdefault(site, {"records": {}, "peers": {}})
        if entry["peers"] != peers:
            entry["peers"] = peers
            self._save(site)

    def _save(self, site: str) -> None:
        if not self._sites[site]["records"] and not self._sites[site]["peers"]:
            del self._sites[site]
        if self._sites:
            write(self._path, json.dumps(self._sites, sort_keys=True) + "\n")
            return
        self._path.unlink(missing_ok=True)
        tidy()  # unless runs' before-images are still there
