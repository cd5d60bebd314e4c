"""The machines' root filesystem, built once from Debian packages into a cache outside the checkout.

`base` is a minimal Debian, `samba` an overlay layer on top of it with Samba installed but never
configured, `domain` one on top of that with what a domain controller needs, `pve` another with LXC and
the templates of its containers. A build goes to a temporary
directory and is renamed when complete, so an interrupted one leaves nothing that a later run would take
for finished.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smbplan import debian
from smbplan.debian import CONTAINED
from smbplan.lab import recipe
from smbplan.lab.tools import TO_BUILD, LabError, require, run

Progress = Callable[[str], None]

REPO = "var/cache/smbplan-debs"


@dataclass(frozen=True)
class Rootfs:
    """Read-only layers of a finished build."""

    base: Path
    samba: Path
    domain: Path
    pve: Path


def cache_dir() -> Path:
    """Where builds are kept: SMBPLAN_LAB_CACHE, or a folder below /var/cache."""
    return Path(os.environ.get("SMBPLAN_LAB_CACHE", "/var/cache/smbplan/lab"))


def prepare(progress: Progress) -> Rootfs:
    """Return the layers, building them first if this recipe was never built (about three minutes).

    Raises LabError, and Refused on a machine that isn't Debian.
    """
    release = debian.codename()
    target = cache_dir() / recipe.key(release)
    layers = Rootfs(*(target / name for name in ("base", "samba", "domain", "pve")))
    if target.is_dir():
        return layers
    require(TO_BUILD)
    with one_at_a_time(target, "the root filesystem", progress):
        if not target.is_dir():
            _build(target, release, progress)
    return layers


@contextmanager
def one_at_a_time(target: Path, what: str, progress: Progress) -> Iterator[None]:
    """Let other builds of the same thing end first."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with target.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build of {what}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target: Path, release: str, progress: Progress) -> None:
    started = time.monotonic()
    building = target.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    base, samba, domain, pve, template = (building / name for name in ("base", "samba", "domain", "pve", "template"))
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": str(building),
        "LAB_MASKED": " ".join(recipe.MASKED),
        "LAB_TEMPLATE_SAMBA": " ".join(recipe.TEMPLATE_SAMBA),
        "LAB_DEBIAN": debian.version(),
        "LAB_ARCH": run(["dpkg", "--print-architecture"]).strip(),
    } | {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    log = target.with_suffix(".log")
    on_nodes = (*recipe.SAMBA, *recipe.ON_REQUEST, *recipe.DOMAIN, *recipe.PVE)
    in_containers = recipe.TEMPLATE_SAMBA
    script = [*CONTAINED, "--net", "sh", str(recipe.SCRIPT)]
    steps: tuple[tuple[str, list[str], Path | None], ...] = (
        (
            f"building a Debian {release} root filesystem (once, some minutes)",
            _mmdebstrap(base, release, recipe.BASE, on_nodes),
            base / REPO,
        ),
        ("setting it up", [*script, "base", str(base)], None),
        ("adding the Samba layer", [*script, "layer", str(base), str(samba), *recipe.SAMBA], None),
        ("adding the domain layer", [*script, "layer", f"{samba}:{base}", str(domain), *recipe.DOMAIN], None),
        ("adding the PVE layer", [*script, "layer", f"{samba}:{base}", str(pve), *recipe.PVE], None),
        (
            "building the containers' templates",
            _mmdebstrap(template, release, recipe.TEMPLATE, in_containers),
            template / REPO,
        ),
        ("packing them", [*script, "templates", str(template), str(pve)], None),
    )
    with log.open("w") as out:
        for title, argv, repo in steps:
            progress(title)
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, umask=0o022, check=False
            )
            if done.returncode != 0:
                raise LabError(f"{title}: failed with {done.returncode}: {log.read_text()[-1500:]}", f"log: {log}")
            if repo:
                write_index(repo)
    shutil.rmtree(template)
    building.rename(target)
    progress(f"root filesystem ready in {time.monotonic() - started:.0f} s: {target}")


def _mmdebstrap(root: Path, release: str, include: Sequence[str], repo: Sequence[str]) -> list[str]:
    fetch = f'LAB_REPO="{" ".join(repo)}" sh {recipe.SCRIPT} fetch "$1"'
    return [*CONTAINED, *debian.mmdebstrap(root, release, include, [fetch])]


def write_index(repo: Path) -> None:
    """Write `Packages` of a flat repository: each package's control fields, its place, size and digest."""
    stanzas = []
    for deb in sorted(repo.glob("*.deb")):
        control = run(["dpkg-deb", "--field", str(deb)]).rstrip()
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    (repo / "Packages").write_text("\n".join(stanzas))
