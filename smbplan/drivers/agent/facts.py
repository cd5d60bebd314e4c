"""What is so on this host, for plans and for `smbplan doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from . import updates
from .core import machine, read_text
from .system import installed


def facts() -> dict[str, Any]:
    present = installed()
    release = dict(
        line.split("=", 1) for line in (read_text(Path("/etc/os-release")) or "").splitlines() if "=" in line
    )
    return {
        "machine": machine(),
        "hostname": os.uname().nodename,
        "release": release.get("PRETTY_NAME", "").strip('"'),
        "python": platform.python_version(),
        "samba": "samba" in present,
        "systemd": Path("/run/systemd/system").is_dir(),
        "apt": shutil.which("apt-get") is not None,
        "btrfs": shutil.which("btrfs") is not None,
        "zfs": shutil.which("zfs") is not None,
        "pending": updates.pending() if updates.SETTINGS.exists() else None,
        "pct": shutil.which("pct") is not None,
        "time": time.time(),
    }
