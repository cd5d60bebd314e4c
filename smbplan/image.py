"""Container templates: built here, put on a cluster's storages, and listed with the gateways that use them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any, TypeVar

from smbplan import observe
from smbplan.drivers import image
from smbplan.drivers.channel import ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.pve import templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.templates import Place, Template
from smbplan.drivers.secrets import MissingSecret
from smbplan.errors import Refused, Trouble
from smbplan.kinds.guest import CLUSTER
from smbplan.spec.model import Site

Progress = Callable[[str], None]
T = TypeVar("T")
ENDINGS = (".tar.zst", ".tar.gz", ".tar.xz")
MIRROR = image.MIRROR


@dataclass(frozen=True, slots=True)
class Built:
    """A template that was made, as far as one was, and where it is now."""

    name: str
    size: int  # bytes
    samba: str  # version; "" where the file was there before
    file: Path | None  # where the person wanted it
    uploaded: tuple[Template, ...] = ()


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
    places = _places(client, site, storage, nodes)
    for place in places:
        templates.must_take(client, place)
    if file:
        return Built(file.name, file.stat().st_size, "", None, _uploaded(client, places, file, progress))
    with image.built(mirror, progress) as made:
        there = {one.volume for place in places for one in templates.on(client, place)}
        file = made.file.rename(made.file.with_name(_unused(made.file.name, places, there)))
        size = file.stat().st_size
        return Built(file.name, size, made.samba, None, _uploaded(client, places, file, progress))


def _places(client: Client, site: Site, storage: str | None, nodes: Sequence[str]) -> list[Place]:
    """One storage of each node, and a shared one once. Raises Refused."""
    online = templates.online(client)
    chosen = sorted(set(nodes) or {gateway.node for gateway in site.gateways.values() if gateway.node}) or online[:1]
    for node in chosen:
        if node not in online:
            raise Refused(Trouble(f"node {node} is not online", f"--node takes one of {', '.join(online)}"))
    found: dict[str, Place] = {}
    for place in templates.places(client, chosen):
        if storage in (None, place.storage):
            found.setdefault(place.node, place)
    if chosen and (first := found.get(chosen[0])) and first.shared:
        return [first]
    lacking = [node for node in chosen if node not in found]
    if lacking:
        words = f"storage {storage} of {lacking[0]} does not take" if storage else f"no storage of {lacking[0]} takes"
        hint = "`pvesm set STORAGE --content …,vztmpl` on a node switches that on, where the storage is a file system"
        raise Refused(Trouble(f"{words} container templates", hint))
    return list(found.values())


def _unused(name: str, places: Sequence[Place], there: set[str]) -> str:
    """A second template of one day gets a number: containers may be made from the first one at this moment."""
    stem, underscore, arch = name.rpartition("_")
    names = [name, *(f"{stem}.{number}{underscore}{arch}" for number in range(2, 100))]
    return next(each for each in names if not any(place.volume(each) in there for place in places))


def _uploaded(client: Client, places: Sequence[Place], file: Path, progress: Progress) -> tuple[Template, ...]:
    """Raises Refused for one that is there already."""
    for place in places:
        if any(one.volume == place.volume(file.name) for one in templates.on(client, place)):
            words = f"{place.volume(file.name)} is on {place.node} already, and is not overwritten"
            raise Refused(Trouble(words, f"`pvesm free {place.volume(file.name)}` there removes it"))
    done = []
    for place in places:
        progress(f"uploading it to {place.storage} of {place.node}")
        done.append(Template(place, templates.upload(client, place, file), file.stat().st_size))
    return tuple(done)


def listing(site: Site) -> list[dict[str, Any]]:
    """Templates on the storages of the nodes that are online, each with the gateways that use it. Raises Refused."""

    def ask(client: Client) -> list[Template]:
        places = templates.places(client, templates.online(client))
        return [one for place in places for one in templates.on(client, place)]

    return [_told(one, site) for one in _asked(site, ask)]


def _told(one: Template, site: Site) -> dict[str, Any]:
    place = one.place
    users = [
        name
        for name, gateway in site.gateways.items()
        if gateway.template == one.volume and (place.shared or gateway.node in (None, place.node))
    ]
    return {
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
        "uploaded": [
            {"node": one.place.node, "storage": one.place.storage, "template": one.volume} for one in built.uploaded
        ],
    }
