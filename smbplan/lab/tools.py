"""Running the host's tools: argv lists only, errors that say what to do."""

import os
import shutil
import subprocess
from collections.abc import Sequence

PACKAGE_OF = {
    "ip": "iproute2",
    "losetup": "mount",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
"""Every host tool that the lab calls, and the Debian package that brings it."""

TO_RUN = ("ip", "losetup", "nsenter", "setsid", "ssh-keygen", "unshare")
TO_BUILD = ("mmdebstrap", "setpriv", "unshare")


class LabError(Exception):
    """The lab can't do what was asked; the message says why, `hint` what helps."""

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(f"{summary} ({hint})" if hint else summary)
        self.summary = summary
        self.hint = hint


def require(tools: Sequence[str]) -> None:
    """Raise LabError unless we are root and every tool is on PATH."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces and mounts", "run it with sudo")
    missing = sorted({PACKAGE_OF[tool] for tool in tools if shutil.which(tool) is None})
    if missing:
        raise LabError("tools are missing on this host", f"apt-get install {' '.join(missing)}")


def run(argv: Sequence[str], *, input: str | None = None, check: bool = True) -> str:
    """Run a helper to its end and return its stdout; LabError with its stderr on failure.

    Inheritable descriptors are passed on: the lab's lock is one, so that a helper which outlives a
    killed `lab up` still keeps `lab down` waiting (see state.Locked).
    """
    done = subprocess.run(list(argv), input=input, text=True, capture_output=True, check=False, close_fds=False)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(argv)[:200]}` ended with {done.returncode}: {said}")
    return done.stdout
