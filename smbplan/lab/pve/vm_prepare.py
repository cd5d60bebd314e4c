"""Makes a machine of the lab's disk that is up and waits: `python3 -m smbplan.lab.pve.vm_prepare`, once per disk.

Its state is saved, so that a node needs seconds to have such a machine; see vm_guest.py for what waits in it.
"""

import json
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from smbplan.lab.pve import vm_files, vm_qemu, vm_qmp
from smbplan.lab.pve.machine import MachineError
from smbplan.lab.pve.vm_agent import Agent
from smbplan.lab.pve.vm_files import BASE, CLOUDINIT, DELTA, INFO, STATE, TEMPLATE
from smbplan.lab.pve.vm_qemu import Place, Shape

VMID = 1
# KVM may be there and not work: guests hang, or QEMU ends. Only a start tells.
PATIENCE = {"kvm": 25.0, "tcg": 300.0}
SCRIPT = "/run/smbplan-guest.py"
# What a gateway does first then comes from memory and not from the disk.
USED = "smbd --version; smbclient --version; python3 -c 'import samba.samba3.smbconf'; getfacl /; ifup --version; lsblk"
# Each reload of systemd runs all generators, which look for hardware and for cloud-init: half of its time, without KVM.
# They are back at the machine's next start.
GENERATORS = """
mkdir -p /run/systemd/system-generators
for each in /usr/lib/systemd/system-generators/*; do
    ln -s /dev/null "/run/systemd/system-generators/${each##*/}"
done
"""


def main() -> None:
    """Try KVM, then emulation. Raises MachineError."""
    with tempfile.TemporaryDirectory(prefix="vm-", dir="/run") as name:
        place = Place(VMID, Path(name))
        for accelerator in ("kvm", "tcg"):
            began = time.monotonic()
            if accelerator == "kvm" and not _opens(Path("/dev/kvm")):
                continue
            try:
                _save(place, accelerator)
                _check(place, accelerator)
            except MachineError as error:
                if accelerator == "tcg":
                    raise
                print(f"no KVM: {error}", flush=True)
                continue
            finally:
                vm_qemu.kill(place)
            found: dict[str, Any] = {"accelerator": accelerator, "seconds": round(time.monotonic() - began)}
            INFO.write_text(json.dumps(json.loads(INFO.read_text()) | found))
            print(f"saved with {accelerator} in {found['seconds']} s", flush=True)
            return


def _opens(path: Path) -> bool:
    with suppress(OSError), path.open("r+b"):
        return True
    return False


def _save(place: Place, accelerator: str) -> None:
    for path in (DELTA, TEMPLATE, CLOUDINIT):
        path.unlink(missing_ok=True)
    vm_files.overlay(TEMPLATE, BASE, 0)
    vm_files.run("qemu-img", "create", "-q", "-f", "qcow2", CLOUDINIT, "4M")
    vm_files.overlay(DELTA, BASE, 0)
    began = time.monotonic()
    vm_qemu.launch(vm_qemu.command(place, Shape(), accelerator, vm_qemu.boot_disk(DELTA)))
    agent = Agent(place.agent)
    agent.wait(PATIENCE[accelerator])
    print(f"the agent answers after {time.monotonic() - began:.1f} s", flush=True)
    agent.run("systemctl is-system-running --wait || :", 180)
    # After a restore all timers would be late at once.
    agent.run("systemctl stop '*.timer'")
    agent.run(GENERATORS)
    agent.write(SCRIPT, Path(__file__).with_name("vm_guest.py").read_text())
    agent.run(f"systemd-run --quiet --unit=smbplan-guest python3 {SCRIPT}")
    waiting = "[ -e /run/smbplan-ready ] || ! systemctl --quiet is-active smbplan-guest"
    agent.run(f"until {waiting}; do sleep 0.2; done; ls /run/smbplan-ready", 120)
    agent.run(f"{{ {USED}; }} >/dev/null 2>&1; sync")
    print(f"it waits after {time.monotonic() - began:.1f} s", flush=True)
    with vm_qmp.Monitor(place.monitor) as monitor:
        monitor.ask("stop")
        monitor.ask("migrate-set-parameters", **{"max-bandwidth": 2**40})
        monitor.ask("migrate", uri=f"exec:zstd -q -T0 -3 > {STATE}")
        end = time.monotonic() + 120
        while (found := monitor.ask("query-migrate").get("status")) != "completed":
            if found == "failed" or time.monotonic() > end:
                raise MachineError(f"the state can't be saved: {found}")
            time.sleep(0.1)
        pid = vm_qemu.pid_of(place)
        monitor.ask("quit")
    vm_qemu.wait_gone(place, pid or 0, 20)
    vm_qemu.forget(place)


def _check(place: Place, accelerator: str) -> None:
    """A state that was saved may still not go on."""
    began = time.monotonic()
    copy = place.top / "delta"
    shutil.copyfile(DELTA, copy)
    argv = vm_qemu.command(place, Shape(), accelerator, vm_qemu.boot_disk(copy))
    with vm_qemu.restored(argv, STATE, place) as monitor:
        monitor.ask("cont")
    Agent(place.agent).wait(20)
    print(f"it goes on after {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except MachineError as error:
        sys.exit(f"error: {error}")
