"""The guest agent and the monitor of virtual machines.

Perl's strings shape what clients see: content and input are sent as Latin-1, and refused if they can't be; what
comes back is bytes, shown as one character each. Decode it with `text.encode("latin-1")`.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from smbplan.lab.pve import guests, schema, status
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import ApiError, bad_params, fail
from smbplan.lab.pve.machine import AgentError
from smbplan.lab.pve.qemu_config import VM
from smbplan.lab.pve.qemu_params import EXEC, FILE_READ, FILE_WRITE, PASSWORD, PID
from smbplan.lab.pve.routing import Call, Check, route
from smbplan.lab.pve.schema import NEED, Param, Table

_AUDIT, _FILES, _POWER = ("VM.GuestAgent.Audit",), ("VM.GuestAgent.FileSystemMgmt",), ("VM.PowerMgmt",)
_SIMPLE: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("fsfreeze-freeze", "fsfreeze-thaw", "fstrim"), ("POST", _FILES)),
    "fsfreeze-status": ("POST", (*_AUDIT, *_FILES)),
    **{
        f"get-{name}": ("GET", _AUDIT)
        for name in ("fsinfo", "host-name", "memory-block-info", "memory-blocks", "osinfo", "time", "timezone", "users")
    },
    "get-vcpus": ("GET", _AUDIT),
    "info": ("GET", _AUDIT),
    "network-get-interfaces": ("GET", _AUDIT),
    "ping": ("POST", _AUDIT),
    **dict.fromkeys(("shutdown", "suspend-disk", "suspend-hybrid", "suspend-ram"), ("POST", _POWER)),
}
_WITH_PARAMETERS = ("exec", "exec-status", "file-read", "file-write", "set-user-password")
_MOST = 16 * 2**20
_CHUNK = 2**20
_READING = ("?", "help", "info")
_ROOT_ONLY = (
    "backup block_stream change chardev-add chardev-change chardev-remove client_migrate_info device_add device_del "
    "drive_add drive_backup drive_del drive_mirror dump-guest-memory dumpdtb gdbserver hostfwd_add hostfwd_remove "
    "logfile mce memsave migrate migrate_incoming migrate_recover netdev_add netdev_del nmi o object_add object_del "
    "pmemsave qom-set savevm-end savevm-start screendump snapshot_blkdev watchdog_action wavcapture"
)


def _need(*names: str, alone: bool = False) -> Check:
    """Any of the rights or VM.GuestAgent.Unrestricted (`alone`: only that); VM.Monitor before version 9."""

    def check(call: Call) -> None:
        wanted = [*([] if alone else names), "VM.GuestAgent.Unrestricted"]
        wanted = wanted if call.site.dialect >= 9 else ["VM.Monitor"]
        call.rights.check(f"/vms/{call.params['vmid']}", wanted, any_of=True)

    return check


def _available(call: Call) -> int:
    """The machine whose agent answers; 500 if it doesn't."""
    site, vmid = call.site, int(call.params["vmid"])
    values = guests.load(site, vmid, "qemu").values
    if "agent" not in values:
        raise fail("No QEMU guest agent configured")
    if not status.live(site, vmid, "qemu")["running"]:
        raise fail(f"VM {vmid} is not running")
    try:
        enabled = schema.parse_props("qemu-agent", values["agent"], "agent")["enabled"] == "1"
        if not enabled:
            raise AgentError("no such device")
        site.machines.agent(vmid, "guest-ping", {}, 3.0)
    except AgentError:
        raise fail("QEMU guest agent is not running") from None
    return vmid


def _ask(call: Call, command: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return call.site.machines.agent(int(call.params["vmid"]), f"guest-{command}", arguments)
    except AgentError as error:
        _check_silence(error)
        text = f"Agent error: {error}\n"
        if any(ord(letter) > 255 for letter in text):
            # The worker dies of such a letter on its way to the log: GLib quotes with them.
            raise ApiError(596, "Broken pipe", bare=True) from None
        raise fail(text) from None


def _check_silence(error: AgentError) -> None:
    """500 if the agent said nothing any more."""
    if re.search(r"got timeout$|is not running$", str(error)):
        raise fail(str(error))


def _bytes(text: str) -> str:
    """Base64 of a text, as Perl makes it."""
    try:
        return base64.b64encode(text.encode("latin-1")).decode()
    except UnicodeEncodeError:
        raise fail("Wide character in subroutine entry") from None


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode("latin-1")


def _simple(command: str | None) -> Callable[[Call], dict[str, Any]]:
    def handler(call: Call) -> dict[str, Any]:
        vmid, name = _available(call), command or call.params["command"]
        try:
            return {"result": call.site.machines.agent(vmid, f"guest-{name}", {})}
        except AgentError as error:
            _check_silence(error)
            return {"result": {"error": {"class": "GenericError", "desc": str(error)}}}

    return handler


for _name, (_method, _rights) in _SIMPLE.items():
    route(_method, f"{VM}/agent/{_name}", None, _need(*_rights))(_simple(_name))
route("POST", f"{VM}/agent", {"command": Param(optional=False, enum=tuple(sorted(_SIMPLE)))}, _need(alone=True))(
    _simple(None)
)


@route("GET", f"{VM}/agent")
def index(call: Call) -> list[dict[str, str]]:
    """The commands."""
    return [{"name": name} for name in sorted([*_SIMPLE, *_WITH_PARAMETERS])]


@route("POST", f"{VM}/agent/exec", EXEC, _need(alone=True))
def execute(call: Call) -> dict[str, Any]:
    """Start a program; `exec-status` tells how it ends."""
    command = call.params["command"]
    _available(call)
    arguments: dict[str, Any] = {"capture-output": True, "path": command[0], "arg": command[1:]}
    if "input-data" in call.params:
        arguments["input-data"] = _bytes(call.params["input-data"])
    return dict(_ask(call, "exec", arguments))


@route("GET", f"{VM}/agent/exec-status", PID, _need(alone=True))
def exec_status(call: Call) -> dict[str, Any]:
    """What a program put out, when it has ended; the agent forgets it then."""
    _available(call)
    found = dict(_ask(call, "exec-status", {"pid": call.params["pid"]}))
    shown: dict[str, Any] = {key: int(value) if isinstance(value, bool) else value for key, value in found.items()}
    return shown | {key: _text(shown[key]) for key in ("out-data", "err-data") if shown.get(key)}


@route("GET", f"{VM}/agent/file-read", FILE_READ, _need("VM.GuestAgent.FileRead"))
def file_read(call: Call) -> dict[str, Any]:
    """At most 16 MiB, or `count`, from `offset` on."""
    params = call.params
    count, content, end = int(params.get("count", _MOST)), b"", False
    _available(call)
    handle = _ask(call, "file-open", {"path": params["file"]})
    if params.get("offset"):
        _ask(call, "file-seek", {"handle": handle, "offset": params["offset"], "whence": "set"})
    while len(content) < count and not end:
        part = _ask(call, "file-read", {"handle": handle, "count": min(count - len(content), _CHUNK)})
        content += base64.b64decode(part["buf-b64"])
        end = bool(part.get("eof"))
    _ask(call, "file-close", {"handle": handle})
    encoded = base64.b64encode(content).decode()
    shown = {"content": _text(encoded) if params.get("decode", 1) else encoded, "bytes-read": len(content)}
    return shown if end else {**shown, "truncated": 1}


@route("POST", f"{VM}/agent/file-write", FILE_WRITE, _need("VM.GuestAgent.FileWrite"))
def file_write(call: Call) -> None:
    """`encode=0`: the content is base64 already."""
    params = call.params
    content = _bytes(params["content"]) if params.get("encode", 1) else params["content"]
    _available(call)
    handle = _ask(call, "file-open", {"path": params["file"], "mode": "wb"})
    _ask(call, "file-write", {"handle": handle, "buf-b64": content})
    _ask(call, "file-close", {"handle": handle})


@route("POST", f"{VM}/agent/set-user-password", PASSWORD, _need(alone=True))
def set_user_password(call: Call) -> dict[str, Any]:
    """Of a user inside."""
    params = call.params
    _available(call)
    arguments = {"username": params["username"], "password": _bytes(params["password"])}
    return {"result": _ask(call, "set-user-password", {**arguments, "crypted": bool(params.get("crypted"))})}


def _may_monitor(call: Call) -> None:
    names = ["Sys.Audit", "Sys.Modify"] if call.site.dialect >= 9 else ["VM.Monitor"]
    call.rights.check(f"/vms/{call.params['vmid']}", names, any_of=True)


_MONITOR: Table = {"command": NEED}


@route("POST", f"{VM}/monitor", _MONITOR, _may_monitor)
def monitor(call: Call) -> str:
    """A line for the human monitor, and what it prints; an error is printed, too."""
    vmid, line = int(call.params["vmid"]), call.params["command"]
    _check_line(call.rights, line, call.site.dialect)
    guests.load(call.site, vmid, "qemu")
    if not status.live(call.site, vmid, "qemu")["running"]:
        return f"ERROR: VM {vmid} not running\n"
    try:
        return call.site.machines.monitor(vmid, line)
    except Exception as error:
        return f"ERROR: {error}\n"


def _check_line(rights: Rights, line: str, dialect: float) -> None:
    words = line.split()
    if not words:
        raise bad_params({"command": "no command specified"}) if dialect < 9 else fail(f"unexpected command '{line}'")
    if words[0] in _ROOT_ONLY.split() and dialect >= 9:
        if not rights.is_root:
            raise fail(f"root-only command '{words[0]}'")
    elif words[0] not in _READING:
        rights.check("/", ["Sys.Modify"])
