"""Delays what passes between two ends of a connection, as a network does."""

import queue
import socket
import threading
import time
from contextlib import suppress


class Relay:
    """Listens on loopback for one port behind it. `delay` seconds each way; it may change."""

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self.behind, self.delay = port, delay
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                threading.Thread(target=self._join, args=[here], daemon=True).start()

    def _join(self, here: socket.socket) -> None:
        """A connection takes one way there and one back to be made."""
        time.sleep(2 * self.delay)
        there = socket.create_connection(("127.0.0.1", self.behind))
        for one, other in ((here, there), (there, here)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_on, args=[one, other], daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._arrive, args=[under_way, other], daemon=True).start()
        data = b"-"
        while data:
            try:
                data = one.recv(1 << 16)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + self.delay, data))

    @staticmethod
    def _arrive(under_way: "queue.SimpleQueue[tuple[float, bytes]]", other: socket.socket) -> None:
        with suppress(OSError):
            while True:
                when, data = under_way.get()
                time.sleep(max(0.0, when - time.monotonic()))
                if not data:
                    other.shutdown(socket.SHUT_WR)
                    return
                other.sendall(data)
