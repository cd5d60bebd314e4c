"""The lock that all nodes of a Proxmox cluster see: a folder in /etc/pve/priv/lock, as Proxmox's own are.

pmxcfs makes a folder there for one node only, and removes one that nobody has touched for 120 s when somebody asks for
that by the time 0. pve-cluster: PVE/Cluster.pm (cfs_lock), pmxcfs/cfs-plug-memdb.c
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

PRIV = Path("/etc/pve/priv")
SETTLES = 1.0  # seconds for which removal is waited for
FORGOTTEN = 130.0  # seconds; where another node made it for us, which only that one may keep


class Slot:
    """Beside the folder lies who has made it."""

    def __init__(self, name: str) -> None:
        self._folder = PRIV / "lock" / f"smbplan-{name}"
        self.path = PRIV / f"smbplan-{name}"

    def take(self, ours: bool) -> bool:
        """Whether the folder is ours now; `ours`: it was so before, or its owner has ended for sure."""
        deadline = time.monotonic() + (FORGOTTEN if ours else SETTLES)
        while True:
            try:
                self._folder.mkdir(parents=True)
                return True
            except FileExistsError:
                if ours and self._kept():
                    return True
            with contextlib.suppress(OSError):
                os.utime(self._folder, (0, 0))
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def _kept(self) -> bool:
        """pmxcfs lets the node that made it keep it, and no other. memdb.c, memdb_mtime"""
        try:
            self.refresh()
        except PermissionError:
            return False
        return True

    def refresh(self) -> None:
        """Raises OSError on a node without quorum."""
        os.utime(self._folder)

    def free(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    @property
    def heard(self) -> float:
        """When its owner touched it last. Raises OSError."""
        return self._folder.stat().st_mtime
