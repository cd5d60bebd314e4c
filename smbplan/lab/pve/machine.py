"""What the API needs from real virtual machines and their disks on one node."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

Log = Callable[[str], None]
Config = Mapping[str, str]  # the values of ID.conf


class MachineError(Exception):
    """A machine or disk can't do what was asked; the text is the error of the task or request."""


class AgentError(MachineError):
    """What the guest agent said (`Agent error: …` without these words), or that it does not answer."""


class Machines(Protocol):
    """Virtual machines and disks of one node. Anything raised becomes the error of the task or the request.

    `storage` is a section of storage.cfg with its name under `storage`, as for containers. Sizes are bytes.
    """

    def start(self, vmid: int, config: Config, log: Log) -> None:
        """Start with this configuration; the cloud-init drive is made anew first. Returns when the machine runs."""

    def stop(self, vmid: int, log: Log) -> None:
        """Kill it. Returns when its disks are free."""

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        """Ask it (agent, else ACPI) to go down and wait; raise if it still runs after `timeout` seconds."""

    def pause(self, vmid: int) -> None:
        """Stop its processors."""

    def resume(self, vmid: int) -> None:
        """Let them go on."""

    def status(self, vmid: int) -> dict[str, Any]:
        """running; qmpstatus (running, paused, stopped), pid, uptime, mem, cpu as far as known."""

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        """Apply the difference to the running machine: disks of scsiN, sizes, netN, nothing else.

        The keys that only a restart can apply.
        """

    def agent(self, vmid: int, command: str, arguments: Mapping[str, Any], timeout: float = 10.0) -> Any:
        """The `return` of a guest agent command (`guest-exec`, …). Raises AgentError."""

    def monitor(self, vmid: int, line: str) -> str:
        """What the human monitor prints for a line."""

    def snapshot(self, vmid: int, volid: str, verb: str, name: str) -> None:
        """`create`, `delete` or go back to (`revert`, of a stopped machine) a snapshot inside of a qcow2 disk."""

    def disk(self, storage: dict[str, str], vmid: int, size: int, form: str, name: str = "") -> str:
        """A new empty disk (`raw` or `qcow2`; `name` in place of `disk-N`, such as `cloudinit`); its volid."""

    def imported(self, storage: dict[str, str], vmid: int, source: Path, form: str, log: Log) -> str:
        """A new disk with the content of an image file; its volid."""

    def cloned(self, volid: str, storage: dict[str, str], vmid: int, full: bool, form: str, log: Log) -> str:
        """A disk for the other guest: a copy, or (of a base disk) one that is linked to it; its volid."""

    def base(self, volid: str) -> str:
        """Make it the read-only base of clones: `vm-` becomes `base-` in its name; the new volid."""

    def size(self, volid: str) -> int:
        """What the guest sees."""

    def resize(self, vmid: int, volid: str, size: int) -> None:
        """Grow it; a running machine is told."""

    def free(self, volid: str) -> None:
        """Delete it; nothing happens if it is gone."""
