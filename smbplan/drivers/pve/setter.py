"""Brings the objects of a gateway from one state to another: its container, volumes and power."""

from collections.abc import Callable, Mapping
from typing import Any

from smbplan.drivers.agent.core import Untouched
from smbplan.drivers.pve import config
from smbplan.drivers.pve.rooted import Rooted
from smbplan.drivers.pve.templates import roomiest

PLAIN = ("hostname", "nameserver", "searchdomain", "startup", "cores", "memory", "swap", "onboot", "protection")


class Setter(Rooted):
    """Brings one object of a gateway from a state to another. Raises ApiError, Refused or Untouched."""

    def set(self, op: Mapping[str, Any], now: Any) -> None:
        self.records[op["address"]] = op["record"]
        by_type: dict[str, Callable[[Mapping[str, Any], Any], None]] = {
            "container": self._container,
            "volume": self._volume,
            "power": self._power,
            "bind": self._bind,
            "idmap": self._idmap,
            "entry": self._entry,
        }
        by_type[op["type"]](op, now)

    def _container(self, op: Mapping[str, Any], now: Any) -> None:
        after = op["after"]
        if after is None:
            self._remove()
        elif self.guest is None:
            self._create(after, op["options"]["template"])
        else:
            self._change(now, after)

    def _create(self, wanted: Mapping[str, Any], template: str) -> None:
        node = wanted["node"] or roomiest(self.client)
        params = {
            "ostemplate": template,
            "rootfs": f"{wanted['storage']}:{config.gibibytes(wanted['disk'])}",
            "hostname": wanted["hostname"],
            "unprivileged": wanted["unprivileged"],
            "features": "nesting=1" if wanted["nesting"] else None,
            "pool": wanted["pool"] or None,
            **{name: wanted[name] for name in ("cores", "memory", "swap", "onboot", "protection")},
            **{name: wanted[name] or None for name in ("nameserver", "searchdomain", "startup")},
            **{f"net{number}": config.network(*item) for number, item in enumerate(sorted(wanted["networks"].items()))},
        }
        self._numbered(wanted["vmid"], lambda vmid: self._post(node, {**params, "vmid": vmid}, wanted))

    def _post(self, node: str, params: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        told = {"mark": config.sealed(wanted["mark"], params["vmid"]), "records": self.records}

        def post(tags: list[str], refused: list[str]) -> Any:
            description = config.described({}, {**told, "untagged": refused} if refused else told)
            given = {**params, "description": description, "tags": ";".join(tags) or None}
            return self.client.post(f"nodes/{node}/lxc", **given)

        self._wait(self._tagged(wanted["tags"], post))

    def _change(self, now: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        guest, changed, gone = self._there(), {}, []
        for name in PLAIN:
            if after[name] != now[name]:
                if after[name] in ("", None):
                    gone.append(name)
                else:
                    changed[name] = after[name]
        nets = {key: config.properties(str(value)) for key, value in guest.config.items() if key.startswith("net")}
        keys = {pairs.get("name"): key for key, pairs in nets.items()}
        for name in sorted(now["networks"].keys() | after["networks"].keys()):
            if name not in after["networks"]:
                gone.append(keys[name])
            elif after["networks"][name] != now["networks"].get(name):
                key = keys.get(name) or next(f"net{n}" for n in range(32) if f"net{n}" not in guest.config)
                changed[key] = config.network(name, after["networks"][name])
        if gone:
            changed["delete"] = ",".join(gone)
        if after["disk"] > now["disk"]:
            self._grow("rootfs", after["disk"])
        with self._pooled(now["pool"], after["pool"]):
            self._told(now["tags"], after["tags"], changed)

    def _remove(self) -> None:
        guest = self._there()
        volumes = [each["id"] for each in config.mounts(guest.config).values() if not each["volume"].startswith("/")]
        volumes += [guest.config[key] for key in config.spare(guest.config)]
        if volumes:
            raise Untouched(
                f"container {guest.vmid} has the volume {volumes[0]}, which would be deleted with it",
                "",
                "write on_destroy: delete at its share and use --delete-data, or move it with `pct move-volume`",
            )
        if guest.running:
            self._wait(self.client.post(f"{guest.path}/status/stop"))
        if guest.protected:  # made so by the step that is undone: a plan would have refused it
            self.client.put(f"{guest.path}/config", protection=False)
        self._wait(self.client.delete(guest.path, purge=1))

    def _power(self, op: Mapping[str, Any], now: Any) -> None:
        guest = self._there()
        if op["after"] is not None:
            self.guests.tell(guest, self.records)  # first: what was pending changes the configuration at a start
            self._wait(self.client.post(f"{guest.path}/status/start"))
        else:
            self._stop()
            self._again()
            self.guests.tell(self._there(), self.records)
