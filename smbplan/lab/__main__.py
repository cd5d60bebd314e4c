"""`python -m smbplan.lab prepare`: build what machines are made of ahead of the first `lab up`."""

import sys

from smbplan.lab import rootfs, vm
from smbplan.lab.tools import LabError


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """Build if needed and print the cache folder; 64 on wrong usage."""
    if argv != ["prepare"]:
        print("usage: python -m smbplan.lab prepare", file=sys.stderr)
        return 64
    try:
        layers = rootfs.prepare(_progress)
        vm.prepare(layers, _progress)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(layers.base.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
