"""Templates of guests: built here, put on a cluster, and listed with the gateways that use them."""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any, TypeVar

from smbplan import bootable, observe
from smbplan.alone import Deed, written
from smbplan.drivers import image
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.pve import machine_image, machine_templates, templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.templates import Place, Template
from smbplan.drivers.secrets import MissingSecret
from smbplan.errors import Refused, Trouble
from smbplan.kinds.guest import CLUSTER
from smbplan.kinds.packages import SERVED
from smbplan.spec.model import Site

Progress = Callable[[str], None]
T = TypeVar("T")
ENDINGS = (".tar.zst", ".tar.gz", ".tar.xz")
DISK = ".qcow2"
CONTENT = {"vztmpl": "container templates", "import": "disks to import", "images": "disks of VMs"}
MIRROR = image.MIRROR


@dataclass(frozen=True, slots=True)
class Built:
    """A template that was made, as far as one was, and where it is now."""

    name: str
    size: int  # bytes
    samba: str  # version; "" where the file was there before
    file: Path | None  # where the person wanted it
    uploaded: tuple[Template, ...] = ()
    machines: tuple[machine_templates.Template, ...] = ()


def build(output: Path, mirror: str, progress: Progress) -> Built:
    """A template in a file of this machine, which must not exist. Raises Refused and OSError."""
    if output.exists():
        raise Refused(Trouble("exists already, and is not overwritten", "choose another place", file=str(output)))
    with image.built(mirror, progress) as made:
        _copy(made.file, output)
        return Built(output.name, output.stat().st_size, made.samba, output)


def provide(
    site: Site, file: Path | None, storage: str | None, nodes: Sequence[str], mirror: str, progress: Progress
) -> Built:
    """A template on storages of the site's cluster: a new one, or `file`. Raises Refused.

    Without `nodes`, where the site's gateways are created; without `storage`, the first one that takes templates.
    """
    if file and not (file.is_file() and file.name.endswith(ENDINGS)):
        raise Refused(Trouble("is no template", f"write a file that ends in {', '.join(ENDINGS)}", file=str(file)))
    return _asked(site, lambda client: _provided(client, site, file, storage, nodes, mirror, progress))


def _provided(
    client: Client,
    site: Site,
    file: Path | None,
    storage: str | None,
    nodes: Sequence[str],
    mirror: str,
    progress: Progress,
) -> Built:
    places = _places(client, storage, _chosen(client, site, nodes, "lxc"))
    for place in places:
        templates.must_take(client, place)
    if file:
        return Built(file.name, file.stat().st_size, "", None, _uploaded(client, site, places, file, progress))
    with image.built(mirror, progress) as made:
        there = {one.volume for place in places for one in templates.on(client, place)}
        file = made.file.rename(made.file.with_name(_unused(made.file.name, places, there)))
        size = file.stat().st_size
        return Built(file.name, size, made.samba, None, _uploaded(client, site, places, file, progress))


def _chosen(client: Client, site: Site, nodes: Sequence[str], mode: str) -> list[str]:
    """These nodes, or those where the site's gateways of a mode are created. Raises Refused."""
    online = templates.online(client)
    placed = {gateway.node for gateway in site.gateways.values() if gateway.node and gateway.mode == mode}
    chosen = sorted(set(nodes) or placed) or online[:1]
    for node in chosen:
        if node not in online:
            raise Refused(Trouble(f"node {node} is not online", f"--node takes one of {', '.join(online)}"))
    return chosen


def _places(client: Client, storage: str | None, chosen: Sequence[str], content: str = "vztmpl") -> list[Place]:
    """One storage of each node that takes a content, and a shared one once. Raises Refused."""
    found: dict[str, Place] = {}
    for place in templates.places(client, chosen, content):
        if storage in (None, place.storage):
            found.setdefault(place.node, place)
    if chosen and (first := found.get(chosen[0])) and first.shared:
        return [first]
    lacking = [node for node in chosen if node not in found]
    if lacking:
        words = f"storage {storage} of {lacking[0]} does not take" if storage else f"no storage of {lacking[0]} takes"
        hint = (
            f"`pvesm set STORAGE --content …,{content}` on a node switches that on, where the storage is a file system"
        )
        raise Refused(Trouble(f"{words} {CONTENT[content]}", hint))
    return list(found.values())


def _unused(name: str, places: Sequence[Place], there: set[str]) -> str:
    """A second template of one day gets a number: containers may be made from the first one at this moment."""
    stem, underscore, arch = name.rpartition("_")
    names = [name, *(f"{stem}.{number}{underscore}{arch}" for number in range(2, 100))]
    return next(each for each in names if not any(place.volume(each) in there for place in places))


def _uploaded(
    client: Client, site: Site, places: Sequence[Place], file: Path, progress: Progress
) -> tuple[Template, ...]:
    """Raises Refused for one that is there already."""
    for place in places:
        if any(one.volume == place.volume(file.name) for one in templates.on(client, place)):
            words = f"{place.volume(file.name)} is on {place.node} already, and is not overwritten"
            raise Refused(Trouble(words, f"`pvesm free {place.volume(file.name)}` there removes it"))
    done = []
    with _written(site, file, [f"{place.node} {place.volume(file.name)}" for place in places]):
        for place in places:
            progress(f"uploading it to {place.storage} of {place.node}")
            done.append(Template(place, templates.upload(client, place, file), file.stat().st_size))
    return tuple(done)


def _written(site: Site, file: Path, places: Sequence[str]) -> AbstractContextManager[None]:
    """What is put on the cluster, as a run."""
    return written(site.site, Deed("image build", file.name, {"templates": (None, list(places))}))


def build_machine(output: Path, mirror: str, progress: Progress) -> Built:
    """A disk of a VM in a file of this machine, which must not exist. Raises Refused and OSError."""
    if output.exists():
        raise Refused(Trouble("exists already, and is not overwritten", "choose another place", file=str(output)))
    made = bootable.build(output, mirror, SERVED, progress)
    return Built(output.name, output.stat().st_size, made.samba, output)


def provide_machine(
    site: Site, file: Path | None, storage: str | None, nodes: Sequence[str], mirror: str, progress: Progress
) -> Built:
    """Templates of VMs on the site's cluster, of a new disk or of `file`. Raises Refused.

    Without `nodes`, where the site's VMs are created; without `storage`, on the first one that takes disks of VMs.
    """
    if file and not (file.is_file() and file.name.endswith(DISK)):
        raise Refused(Trouble("is no disk image", f"write a file that ends in {DISK}", file=str(file)))

    def provided(client: Client) -> Built:
        chosen = _chosen(client, site, nodes, "vm")
        disks = _places(client, storage, chosen, "images")
        uploads = {place.node: place for place in _places(client, None, [place.node for place in disks], "import")}
        first = next(iter(uploads.values()))
        pairs = [(uploads.get(place.node, first), place.storage) for place in disks]
        for upload, _ in pairs:
            templates.must_take(client, upload)
        with _disk(file, mirror, progress) as (path, samba):
            with _written(site, path, [f"{upload.node} {on}" for upload, on in pairs]):
                made = [machine_image.made(client, upload, on, path, samba, progress) for upload, on in pairs]
            return Built(path.name, path.stat().st_size, samba, None, machines=tuple(made))

    return _asked(site, provided)


@contextmanager
def _disk(file: Path | None, mirror: str, progress: Progress) -> Iterator[tuple[Path, str]]:
    """The file, or a new one that is removed in the end; and the version of Samba in it."""
    if file:
        yield file, ""
        return
    with tempfile.TemporaryDirectory(prefix="smbplan-image-") as name:
        path = Path(name) / f"smbplan-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}{DISK}"
        yield path, bootable.build(path, mirror, SERVED, progress).samba


def listing(site: Site) -> list[dict[str, Any]]:
    """Templates on the nodes that are online, each with the gateways that use it. Raises Refused."""

    def ask(client: Client) -> list[dict[str, Any]]:
        places = templates.places(client, templates.online(client))
        listed = [_told(one, site) for place in places for one in templates.on(client, place)]
        machines, shared = machine_templates.every(client), machine_templates.shared(client)
        users: dict[int, list[str]] = {}
        for name, gateway in site.gateways.items():
            one = machine_templates.fitting(machines, gateway.node, gateway.template or "", shared)
            if gateway.mode == "vm" and one:
                users.setdefault(one.vmid, []).append(name)
        return [*listed, *(_told_machine(one, users.get(one.vmid, []), shared) for one in machines)]

    return _asked(site, ask)


def _told_machine(one: machine_templates.Template, users: Sequence[str], shared: Collection[str]) -> dict[str, Any]:
    return {
        "sort": "vm",
        "storage": one.storage,
        "node": None if one.storage in shared else one.node,
        "template": f"{one.vmid} {one.name}",
        "size": one.size,
        "samba": one.suits,
        "version": one.version or None,
        "gateways": sorted(users),
    }


def _told(one: Template, site: Site) -> dict[str, Any]:
    place = one.place
    users = [
        name
        for name, gateway in site.gateways.items()
        if gateway.template == one.volume and (place.shared or gateway.node in (None, place.node))
    ]
    return {
        "sort": "lxc",
        "storage": place.storage,
        "node": None if place.shared else place.node,
        "template": one.volume,
        "size": one.size,
        "samba": one.samba,
        "gateways": sorted(users),
    }


def _asked(site: Site, ask: Callable[[Client], T]) -> T:
    """What the site's cluster answers. Raises Refused."""
    if site.proxmox is None:
        hint = "write how the cluster is reached; docs/proxmox.md has an example"
        raise Refused(Trouble(f"site {site.site} has no proxmox: block", hint))
    with Fleet(site.site, {CLUSTER: observe.cluster(site.proxmox)}) as fleet:
        try:
            channel = fleet.channel(CLUSTER)
            assert isinstance(channel, Cluster)
            return ask(channel.guests.client)
        except (ChannelError, MissingSecret) as error:
            raise Refused(Trouble(error.summary, error.hint, getattr(error, "detail", ""))) from None


def _copy(source: Path, goal: Path) -> None:
    """All of it, or nothing. Raises OSError."""
    with source.open("rb") as data, goal.open("xb") as file:
        try:
            copyfileobj(data, file, 1 << 20)
        except BaseException:
            goal.unlink(missing_ok=True)
            raise


def document(built: Built) -> Mapping[str, Any]:
    """What `image build` answers in JSON."""
    return {
        "format_version": "1.0",
        "image": {"name": built.name, "size": built.size, "samba": built.samba or None},
        "file": str(built.file) if built.file else None,
        "machines": [{"node": one.node, "vmid": one.vmid, "name": one.name} for one in built.machines],
        "uploaded": [
            {"node": one.place.node, "storage": one.place.storage, "template": one.volume} for one in built.uploaded
        ],
    }
