"""Whether a virtual machine has booted, and what its console said if it has not."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve import qga
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.guests import Guest
from smbplan.drivers.pve.nodes import Nodes

WITHIN = 300  # seconds
PAUSE = 0.5  # seconds between two looks
TAIL = 15  # lines of the console
# cloud-init's own word for the end of its last stage; it is off where it found nothing to do. cloud-init(1)
CONFIGURED = (
    "until [ -e /run/cloud-init/result.json ] || [ -e /run/cloud-init/disabled ] || ! [ -e /run/cloud-init ]; "
    "do sleep 0.2; done"
)


class Boot:
    """One start of a machine. `answers`: {within: seconds, ssh: the address that is waited for instead of the agent}"""

    def __init__(self, client: Client, nodes: Nodes, guest: Guest, answers: Mapping[str, Any]) -> None:
        self._client, self._nodes, self._guest = client, nodes, guest
        self._within, self._ssh = float(answers.get("within") or WITHIN), str(answers.get("ssh") or "")
        self._said: list[str] = []

    def answers(self) -> bool:
        """Whether the guest agent does. Raises ApiError."""
        return qga.ping(self._client, self._guest.path)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Its serial console is read meanwhile, where SSH leads to its node; what it says is in the error's detail."""
        node, vmid = self._guest.node, self._guest.vmid
        over = threading.Event()
        reader = threading.Thread(target=self._read, args=(node, vmid, over), daemon=True)
        reader.start()
        try:
            yield
        except (Refused, ChannelError) as error:
            over.set()
            reader.join(3)
            if self._said:
                console = "\n".join(self._said[-TAIL:])
                error.detail = "\n".join(
                    filter(None, [error.detail, f"the console of VM {vmid} ends with:\n{console}"])
                )
            raise
        finally:
            over.set()

    def _read(self, node: str, vmid: int, over: threading.Event) -> None:
        try:
            with self._nodes.console(node, vmid) as listen:
                while not over.is_set():
                    self._said = [*self._said, *listen(1.0)][-5 * TAIL :]
        except ChannelError:
            return  # the error itself says enough

    def wait(self) -> list[str]:
        """Until it has booted; warnings. Raises Refused when it does not in its time, ApiError."""
        deadline = time.monotonic() + self._within
        answers = self._accepts if self._ssh else self.answers
        while not answers():
            if time.monotonic() > deadline:
                what = f"SSH at {self._ssh}" if self._ssh else "the guest agent"
                raise Refused(
                    f"{what} of VM {self._guest.vmid} on {self._guest.node} did not answer within {self._within:.0f} s",
                    "",
                    "look at its console; a template needs qemu-guest-agent in it, and `agent: 1`. A slow one needs "
                    "more boot_timeout at its gateway",
                )
            time.sleep(PAUSE)
        if self._ssh:
            return []
        left = max(5.0, deadline - time.monotonic())
        try:
            qga.execute(self._client, self._guest.path, ["/bin/sh", "-c", CONFIGURED], timeout=left)
        except qga.Slow:
            return [f"cloud-init of VM {self._guest.vmid} did not end within {self._within:.0f} s"]
        return []

    def _accepts(self) -> bool:
        try:
            with socket.create_connection((self._ssh, 22), timeout=2) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
