"""Uploads: one file and some fields in a multipart body, streamed to disk."""

import re
import tempfile
from pathlib import Path
from typing import IO

from smbplan.lab.pve.errors import ApiError

_CHUNK = 1 << 16
_LONGEST_HEADER = 1 << 14


class _Reader:
    """The body up to its length, with what was read too far."""

    def __init__(self, stream: IO[bytes], length: int):
        self.stream = stream
        self.left = length
        self.buffer = b""

    def more(self) -> bool:
        chunk = self.stream.read(min(_CHUNK, self.left)) if self.left else b""
        self.left -= len(chunk)
        self.buffer += chunk
        return bool(chunk)

    def until(self, mark: bytes, output: IO[bytes]) -> None:
        """Copy all before the mark, and drop the mark."""
        while True:
            found = self.buffer.find(mark)
            if found >= 0:
                output.write(self.buffer[:found])
                self.buffer = self.buffer[found + len(mark) :]
                return
            keep = len(mark)
            if len(self.buffer) > keep:
                output.write(self.buffer[:-keep])
                self.buffer = self.buffer[-keep:]
            if not self.more():
                raise ApiError(400, "upload failed: unexpected end of data", bare=True)


def receive(stream: IO[bytes], length: int, content_type: str, folder: Path) -> dict[str, str]:
    """The fields; the file becomes `tmpfilename` in the folder, and its name `filename`."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if not match:
        raise ApiError(501, "upload without boundary", bare=True)
    reader, mark = _Reader(stream, length), b"\r\n--" + match[1].encode()
    reader.buffer = b"\r\n"
    fields: dict[str, str] = {}
    with tempfile.SpooledTemporaryFile(_LONGEST_HEADER) as preamble:
        reader.until(mark, preamble)
    while True:
        while len(reader.buffer) < 2 and reader.more():
            pass
        if reader.buffer.startswith(b"--") or not reader.buffer:
            return fields
        with tempfile.SpooledTemporaryFile(_LONGEST_HEADER) as head:
            reader.until(b"\r\n\r\n", head)
            head.seek(0)
            header = head.read().decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', header)
        file = re.search(r'filename="([^"]*)"', header)
        if file:
            with tempfile.NamedTemporaryFile(dir=folder, prefix="pveupload-", delete=False) as output:
                reader.until(mark, output)
                fields |= {"filename": file[1], "tmpfilename": output.name}
        else:
            with tempfile.SpooledTemporaryFile(_LONGEST_HEADER) as value:
                reader.until(mark, value)
                value.seek(0)
                fields[name[1] if name else ""] = value.read().decode("utf-8", "replace")
