"""A client that writes, flushes and reads all the time at one address, and notes when that worked. [MS-SMB2]

It does what the library of an application does: when the connection is reset, or an answer takes too long, it connects
again to the same address.
"""

import threading
import time
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

BREATH = 0.02  # seconds between two rounds
PATIENCE = 2.0  # seconds for an answer, and for a connection
RECORD = 16  # bytes: the number of the round, in text
RECORDS = 4096  # in the file, which begins anew behind them
FILE = ".smbplan-ha"


@dataclass(slots=True)
class Seen:
    """What a client has met with. Seconds are those of time.monotonic()."""

    address: str
    done: list[float] = field(default_factory=list)  # when rounds ended well
    connections: int = 0
    lost: int = 0  # records that were flushed, and are not there any more
    wrong: int = 0  # records that hold something else than was ever written there
    errors: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    verified: bool = False  # all that was flushed has been looked at in the end

    def longest(self, since: float = 0.0) -> float:
        """Seconds without service: the longest time between two rounds that ended well, from `since` to its end."""
        times = [each for each in self.done if each >= since]
        before = [each for each in self.done if each < since][-1:]
        rows = [*(before or [since or self.began]), *times, self.ended or time.monotonic()]
        return max(after - first for first, after in pairwise(rows))


class Client:
    """Runs in a thread of its own between `start` and `stop`."""

    def __init__(self, address: str, share: str, user: str, password: str) -> None:
        self.seen = Seen(address)
        self._share, self._user, self._password = share, user, password
        self._name = f"{FILE}-{uuid.uuid4().hex[:8]}"
        self._flushed: dict[int, set[bytes]] = {}  # what may stand at each place
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)
        self._open: Any = None

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether a round has ended well by then."""
        end = time.monotonic() + seconds
        while not self.seen.done and time.monotonic() < end:
            time.sleep(BREATH)
        return bool(self.seen.done)

    def stop(self) -> Seen:
        """Ends the rounds, and looks at all that was flushed."""
        if self._ended.is_set():
            return self.seen
        self._ended.set()
        self._thread.join()
        self.seen.ended = time.monotonic()
        for _ in range(5):
            try:
                self._verify()
                self.seen.verified = True
                break
            except Exception as error:
                self._failed(error)
        return self.seen

    def _run(self) -> None:
        number = 0
        while not self._ended.is_set():
            try:
                if self._open is None:
                    self._connect()
                self._round(number)
                self.seen.done.append(time.monotonic())
                number += 1
            except Exception as error:  # whatever the library raises: the next round connects again
                self._failed(error)
            self._ended.wait(BREATH)

    def _round(self, number: int) -> None:
        place, text = number % RECORDS, f"{number:>{RECORD}}".encode()
        may = self._flushed.setdefault(place, {bytes(RECORD)})
        may.add(text)  # once sent it may be there, whatever comes of it
        self._do(*self._open.write(text, place * RECORD, write_through=True, send=False))
        self._do(*self._open.flush(send=False))
        self._flushed[place] = {text}
        if self._read(place * RECORD, RECORD) != text:
            self.seen.wrong += 1

    def _read(self, offset: int, length: int) -> bytes:
        from smbprotocol.open import SMB2ReadResponse

        answer = SMB2ReadResponse()
        answer.unpack(self._do(*self._open.read(offset, length, send=False))["data"].get_value())
        return bytes(answer["buffer"].get_value())

    def _do(self, message: Any, _: Any) -> Any:
        """The answer to one request. Raises what the library raises, also when it takes too long."""
        tree = self._open.tree_connect
        connection = tree.session.connection
        request = connection.send(message, tree.session.session_id, tree.tree_connect_id)
        return connection.receive(request, timeout=PATIENCE)

    def _connect(self, options: int = 0) -> None:
        import logging

        from smbprotocol.connection import Connection
        from smbprotocol.open import (
            CreateDisposition,
            CreateOptions,
            FilePipePrinterAccessMask,
            ImpersonationLevel,
            Open,
            ShareAccess,
        )
        from smbprotocol.session import Session
        from smbprotocol.tree import TreeConnect

        logging.getLogger("smbprotocol").setLevel(logging.CRITICAL)  # what breaks is told by what is seen
        connection = Connection(uuid.uuid4(), self.seen.address, 445)
        watchdog = threading.Timer(2 * PATIENCE, _cut, (connection,))  # a node may die in the midst of it
        watchdog.start()
        try:
            connection.connect(timeout=PATIENCE)
            session = Session(connection, self._user, self._password, require_encryption=False, auth_protocol="ntlm")
            session.connect()
            tree = TreeConnect(session, rf"\\{self.seen.address}\{self._share}")
            tree.connect()
            file = Open(tree, self._name)
            file.create(
                ImpersonationLevel.Impersonation,
                FilePipePrinterAccessMask.GENERIC_READ
                | FilePipePrinterAccessMask.GENERIC_WRITE
                | FilePipePrinterAccessMask.DELETE,
                0,
                ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE,
                CreateDisposition.FILE_OPEN_IF,
                CreateOptions.FILE_NON_DIRECTORY_FILE | options,
            )
        except BaseException:
            _cut(connection)
            raise
        finally:
            watchdog.cancel()
        self._open = file
        self.seen.connections += 1

    def _failed(self, error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"
        if words not in self.seen.errors:
            self.seen.errors.append(words)
        if self._open is not None:
            _cut(self._open.connection)
        self._open = None

    def _verify(self) -> None:
        """By a connection of its own, so that no cache of the old one answers; then the file goes."""
        from smbprotocol.open import CreateOptions

        if self._open is not None:
            _cut(self._open.connection)
        self._connect(CreateOptions.FILE_DELETE_ON_CLOSE)
        self.seen.connections -= 1
        self.seen.lost = sum(
            self._read(place * RECORD, RECORD) not in may for place, may in sorted(self._flushed.items())
        )
        self._open.close()
        self._open.connection.disconnect(timeout=PATIENCE)
        self._open = None


def _cut(connection: Any) -> None:
    """Without a farewell, which a dead server would not answer."""
    try:
        connection.disconnect(close=False)
    except OSError:
        return  # it was cut already
