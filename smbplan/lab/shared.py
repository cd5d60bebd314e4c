"""A folder that all nodes of a lab have, as a cluster file system is, and the machine that keeps its locks."""

from pathlib import Path

from smbplan.lab import lock
from smbplan.lab.state import CLIENT, State, enable, write

FOLDER = "/mnt/shared"
HELPER = "lab-lock"  # in it, so that containers have it, too
SCRIPT = Path(lock.__file__)
SOCKET = f"""[Unit]
Description=Locks of the lab's shared folder
[Socket]
ListenStream={lock.PORT}
"""
SERVICE = """[Service]
ExecStart=/usr/bin/python3 -B /usr/local/sbin/lab-locks serve
"""


def prepare(folder: Path) -> None:
    """The folder, with the helper that takes a lock."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    write(folder / HELPER, SCRIPT.read_text(), 0o755)


def write_seed(state: State) -> None:
    """The service that keeps the locks, on the client."""
    seed = state.seed(CLIENT)
    write(seed / "usr/local/sbin/lab-locks", SCRIPT.read_text(), 0o755)
    units = seed / "etc/systemd/system"
    write(units / "lab-lock.socket", SOCKET, 0o644)
    write(units / "lab-lock.service", SERVICE, 0o644)
    enable(seed, "lab-lock.socket", "sockets.target")
