"""Runs inside the lab's prepared machine, from memory: cloud-init, already imported, waiting for a machine to become.

The interpreter and these imports take five seconds of each of cloud-init's four stages without KVM. Each stage is
a fork that runs cloud-init's own program; what the boot would have done between them is done here.
"""

import contextlib
import fcntl
import gc
import json
import os
import pkgutil
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path

ORDER = Path("/run/smbplan-order")
READY = Path("/run/smbplan-ready")
DONE = Path("/run/smbplan-done")
LABEL, LABEL_AT = b"cidata", 16 * 2048 + 40  # of an ISO 9660
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
STAGES = (("init", "--local"), ("init",), ("modules", "--mode=config"), ("modules", "--mode=final"))
MODULES = ("growpart", "resizefs", "set_hostname", "update_hostname", "update_etc_hosts", "users_groups", "ssh")


def load() -> None:
    """What the stages import only when they need it."""
    import cloudinit.cmd.main
    import cloudinit.distros.debian
    import cloudinit.handlers
    import cloudinit.net.eni
    import cloudinit.sources.DataSourceNoCloud

    for name in (*MODULES, "set_passwords", "runcmd", "scripts_user"):
        __import__(f"cloudinit.config.cc_{name}")
    for module in pkgutil.iter_modules(cloudinit.handlers.__path__):
        __import__(f"cloudinit.handlers.{module.name}")


def stage(*words: str) -> float:
    """One of cloud-init's; the seconds it took. An error of it is in its own log."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        import cloudinit.cmd.main

        code = 1
        try:
            sys.argv = ["cloud-init", *words]
            code = cloudinit.cmd.main.main(sys.argv) or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.waitpid(child, 0)
    return time.monotonic() - began


def become(order: dict[str, object]) -> None:
    """Nothing in this machine may be as in others that were restored from the same state."""
    time.clock_settime(time.CLOCK_REALTIME, float(str(order["time"])))
    noise = bytes.fromhex(str(order["noise"]))
    device = os.open("/dev/urandom", os.O_WRONLY)
    fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(noise) * 8, len(noise)) + noise)
    fcntl.ioctl(device, RNDRESEEDCRNG)
    os.close(device)
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if not Path(path).is_symlink() and Path(path).exists():
            Path(path).write_text(f"{order['machine']}\n")
    # It writes where the old number says.
    subprocess.Popen(["systemctl", "restart", "systemd-journald"], stdin=subprocess.DEVNULL)


def drive() -> None:
    """Return when the cloud-init drive is there; udev needs longer."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for path in Path("/dev").glob("sr*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(LABEL_AT)
                if file.read(len(LABEL)) == LABEL:
                    return
        time.sleep(0.02)


def cards(macs: list[str]) -> None:
    """Return when the network has them all."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = {path.read_text().strip() for path in Path("/sys/class/net").glob("eth*/address")}
        if set(macs) <= found:
            return
        time.sleep(0.02)


def main() -> None:
    """Wait for the order, become the machine, and end."""
    load()
    gc.collect()
    gc.freeze()  # a fork copies less
    os.mkfifo(ORDER, 0o600)
    READY.touch()
    order = json.loads(ORDER.read_text())
    took: dict[str, float] = {}
    began = time.monotonic()
    become(order)
    cards(order["macs"])
    took["cards"] = time.monotonic() - began
    if order["cidata"]:
        drive()
        took["drive"] = time.monotonic() - began
        folder = Path("/run/cloud-init")
        folder.mkdir(exist_ok=True)
        for name in ("disabled", "cloud.cfg"):  # what the boot found out without a drive
            (folder / name).unlink(missing_ok=True)
        (folder / "enabled").touch()
        others = []
        for words in STAGES:
            took[" ".join(words)] = stage(*words)
            if words == STAGES[0]:
                # The loopback is up, but the name servers stand there.
                others.append(subprocess.Popen(["ifup", "--force", "--all"], stdin=subprocess.DEVNULL))
            elif words == STAGES[1]:
                others.append(subprocess.Popen(["systemctl", "restart", "ssh"], stdin=subprocess.DEVNULL))
        for process in others:
            process.wait()
    took["all"] = time.monotonic() - began
    DONE.with_suffix(".part").write_text(json.dumps(took))
    DONE.with_suffix(".part").rename(DONE)


if __name__ == "__main__":
    main()
