"""What a command begins with, before it loads all that it needs: connections take as long as that."""

from contextlib import suppress
from pathlib import Path

from smbplan.drivers import ahead
from smbplan.drivers.bundle import bundle
from smbplan.drivers.endpoint import Endpoint
from smbplan.spec import hosts
from smbplan.spec.problems import SpecError
from smbplan.spec.source import Source, read

_READ: dict[Path, Path | Source] = {}


def begin(path: Path) -> None:
    """What is read now, `definitions` gives to whoever asks first."""
    _READ[path] = definitions(path)


def definitions(path: Path) -> Path | Source:
    """As they were read, while their hosts are connected to; the path, where reading will tell what is wrong."""
    if path in _READ:
        return _READ.pop(path)
    with suppress(SpecError):
        source = read(path)
        with suppress(Exception):  # whatever it is, who connects later tells it
            ahead.begin((Endpoint(name, **way).command() for name, way in hosts.plain(source.data)), bundle)
        return source
    return path
