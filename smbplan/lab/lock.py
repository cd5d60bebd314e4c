#!/usr/bin/python3 -B
"""The lock of the lab's cluster file system: whoever holds it loses it with its node, or with its way to the others.

Runs on the lab's machines, alone. `lab-lock serve` keeps the locks (on the client, started by the first who asks);
`lab-lock hold HOST NAME` is CTDB's helper on a node: a digit on stdout says how it went, see cluster_mutex_helper.txt.
"""

import os
import select
import signal
import socket
import sys
import time

PORT = 4380
LEASE = 3.0  # seconds without a word from a holder after which its lock is free, as that of a dead client is
BEAT = 0.5  # seconds between two words of a holder
HELD, CONTENDED, FAILED = b"0", b"1", b"3"


def serve() -> None:
    """Each connection asks for one lock, by its name in a line, and holds it as long as it is heard."""
    listener = socket.socket(fileno=3) if "LISTEN_FDS" in os.environ else socket.create_server(("", PORT))
    names: dict[socket.socket, str] = {}
    heard: dict[socket.socket, float] = {}
    while True:
        next_end = min([last + LEASE for last in heard.values()], default=time.monotonic() + LEASE)
        ready, _, _ = select.select([listener, *heard], [], [], max(0.0, next_end - time.monotonic()) + 0.01)
        for one in ready:
            if one is listener:
                heard[listener.accept()[0]] = time.monotonic()
                continue
            said = received(one)
            if not said:
                heard[one] = 0.0
            elif one in names:
                heard[one] = time.monotonic()
            else:
                name = said.decode().split("\n")[0]
                taken = name in names.values()
                one.sendall(CONTENDED if taken else HELD)
                if not taken:
                    names[one] = name
                heard[one] = time.monotonic()
        for one in [one for one, last in heard.items() if time.monotonic() - last > LEASE]:
            names.pop(one, None)
            del heard[one]
            one.close()


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(256)
    except OSError:
        return b""


def hold(host: str, name: str) -> int:
    """Until the lock is lost, or nobody wants it any more."""
    parent = os.getppid()
    try:
        connection = socket.create_connection((host, PORT), timeout=LEASE)
        connection.sendall(name.encode() + b"\n")
        answer = connection.recv(1) or FAILED
    except OSError:
        answer = FAILED
    os.write(1, answer)
    if answer != HELD:
        return 0
    # A word that is not acknowledged within the lease means that the lock is another one's by now.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(LEASE * 1000))
    while os.getppid() == parent:
        try:
            connection.sendall(b".")
        except OSError:
            return 1
        if select.select([connection], [], [], BEAT)[0]:
            return 1  # the other side has let it go
    return 0


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.argv[1:2] == ["serve"]:
        serve()
    return hold(*sys.argv[2:4])


if __name__ == "__main__":
    sys.exit(main())
