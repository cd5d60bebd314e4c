"""What the API answers when it refuses, as sentences with the way out.

ApiError              an answer that is no success, or none
├── Unreachable       no connection: nothing has happened
├── Lost              the request went out, and no whole answer came back: nobody knows what has happened
├── Denied            401 or 403: who may not do what
├── Locked            something else works on the guest: its configuration is as it was
└── TaskFailed        the request was accepted, and its task went wrong

The texts are those of a PVE 9.1, in reason phrases and bodies; missing objects are 500, never 404.
"""

import re
from collections.abc import Mapping

from smbplan.drivers import errors
from smbplan.drivers.errors import ChannelError

NO_NODE = re.compile(r"hostname lookup '(?P<name>[^']*)' failed")  # what a node says of one that it doesn't know
POOL = re.compile(r"pool '(?P<name>[^']*)' does not exist")
DOCTOR = "smbplan doctor lists what is missing, with the pveum commands that grant it"
PERMISSION = re.compile(r"Permission check failed \((?P<path>/[^,)]*), (?P<privileges>[^)]*)\)")
ROOT_ONLY = re.compile(r"only allowed for root@pam|user != root@pam|only root can")
LOCKED = re.compile(r"(?:CT|VM) is locked \((\w+)\)")
CREATING = re.compile(r"POST nodes/[^/]+/lxc: 403 Permission check failed$")  # all that it says
# Answers of the HTTP server itself, and of the node that it passed the request on to.
UNKNOWN = "its effect is unknown; look at the node's task list"
DIED = ("the API's worker on {node} ended without an answer", UNKNOWN)
GATEWAY = {
    501: ("{where} has no such function", "smbplan needs Proxmox VE 8.4 or newer"),
    595: ("{where} can't reach node {node}", "check that it is up, and the cluster's network; `pvecm status` tells"),
    596: DIED,
    597: DIED,
    599: DIED,
}


class ApiError(ChannelError):
    """`status` is the HTTP status, 0 where there was no answer."""

    def __init__(self, summary: str, detail: str = "", hint: str = "", status: int = 0) -> None:
        super().__init__(summary, detail, hint)
        self.status = status

    @property
    def missing(self) -> bool:
        """Whether it says that the object does not exist."""
        return "does not exist" in self.detail or "no such" in self.detail


class Unreachable(ApiError, errors.Unreachable):
    """No connection was made, so nothing was changed."""


class Lost(ApiError):
    """The connection broke off, or the answer can't be read."""


class Late(Lost):
    """Nobody waited for the answer any longer."""


class Denied(ApiError):
    """The user or token may not do this."""


class Locked(ApiError):
    """A change of a guest was refused before it began: Proxmox looks for a lock first (check_lock in update_vm)."""


class TaskFailed(ApiError):
    """A task ended with an error, or was aborted after its time; `detail` is the end of its log."""


def refusal(
    who: str, where: str, method: str, path: str, status: int, reason: str, message: str, errors: Mapping[str, str]
) -> ApiError:
    """The error for an answer. `who` is the user or token, `where` the address that was asked."""
    words = message.strip() or reason.strip()
    asked = f"{method} {path}: {status} {words}"
    if status == 401:
        hint = "check the token's name and secret, and that it has not expired"
        return Denied(f"{where} does not accept the credentials of {who}", asked, hint, status)
    pool = POOL.search(words)
    if pool:
        hint = f"make it with `pvesh create /pools --poolid {pool['name']}`, or correct pool: at the gateway"
        return ApiError(f"Proxmox has no pool {pool['name']}", asked, hint, status)
    node = NO_NODE.search(words)
    if node:
        hint = "`pvecm nodes` on any node lists them; correct node: at the gateway"
        return ApiError(f"the cluster has no node {node['name']}", asked, hint, status)
    if status == 403:
        return _denied(who, words, asked)
    if status in GATEWAY:
        summary, hint = GATEWAY[status]
        return ApiError(summary.format(where=where, node=_node(path) or where), asked, hint, status)
    summary, hint = f"Proxmox: {words}", ""
    if errors:
        summary = "Proxmox refuses " + "; ".join(f"{name}: {text.strip()}" for name, text in sorted(errors.items()))
    locked = LOCKED.search(words)
    if locked:
        hint = f"wait until its {locked[1]} has ended; if none is running, `pct unlock` or `qm unlock` it on its node"
    before = (method, status) == ("PUT", 500) and LOCKED.fullmatch(words)
    return (Locked if before else ApiError)(summary, asked, hint, status)


def _denied(who: str, words: str, asked: str) -> Denied:
    found = PERMISSION.search(words)
    if found:
        privileges = " or ".join(found["privileges"].split("|"))
        return Denied(f"{who} lacks {privileges} on {found['path']}", asked, DOCTOR, 403)
    if ROOT_ONLY.search(words):
        hint = "smbplan does it by SSH: write proxmox.ssh with a user who is root on the nodes"
        return Denied(f"only root@pam itself may do this, and no token of his: {words}", asked, hint, 403)
    if CREATING.match(asked):
        return Denied(f"{who} lacks VM.Allocate on /vms", asked, DOCTOR, 403)
    return Denied(f"{who} may not do this: {words}", asked, DOCTOR, 403)


def unreached(where: str, error: Exception) -> Unreachable:
    """The error for a connection that was not made."""
    words = str(error)
    got = re.search(r'Fingerprints did not match\. Expected "?(?P<asked>[^",]*)"?, got "?(?P<got>[0-9a-f]{64})', words)
    if got:
        return Unreachable(
            f"{where} shows another certificate than the one that is written",
            f"its fingerprint is {colons(got['got'])}, and {colons(got['asked'].replace(':', ''))} is written",
            "if its certificate was renewed, write that at proxmox.fingerprint; else somebody is in between",
        )
    for sign, summary, hint in EXPLANATIONS:
        if sign in words:
            return Unreachable(f"{where}: {summary}", words, hint)
    return Unreachable(f"{where} can't be reached", words, "check proxmox.endpoint, and that pveproxy runs there")


def late(where: str, method: str, path: str, seconds: float) -> Late:
    """The error for an answer that was not waited for any longer."""
    return Late(f"{where} did not answer within {seconds:.0f} s", f"{method} {path}", _after(method))


def lost(where: str, method: str, path: str, error: Exception) -> Lost:
    """The error for a request that went out and has no answer that can be read."""
    what = "sent what is no answer of Proxmox" if isinstance(error, ValueError) else "broke the connection off"
    return Lost(f"{where} {what}", f"{method} {path}: {error}", _after(method))


def _after(method: str) -> str:
    return "try again; if it stays so, look at pveproxy's log on the node" if method == "GET" else UNKNOWN


def colons(digest: str) -> str:
    """A fingerprint as Proxmox shows it."""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


EXPLANATIONS = (
    (
        "Unable to connect to proxy",
        "the proxy that the environment names doesn't let us through",
        "check HTTPS_PROXY, or name the host in NO_PROXY",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is signed by nobody whom this machine knows",
        "write proxmox.fingerprint, which `pvenode cert info` on the node shows, or its root's certificate at ca_file",
    ),
    (
        "Name or service not known",
        "the host name is not known",
        "check proxmox.endpoint, or write an address",
    ),
    ("Connection refused", "nothing answers on that port", "check the port (8006), and that pveproxy runs there"),
    ("timed out", "no answer", "check that the host is up, and that its address is right"),
    ("No route to host", "there is no route to the host", "check the address and this machine's network"),
    ("Network is unreachable", "the network is unreachable", "check the address and this machine's network"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS", "check the port: the API is at 8006"),
)


def _node(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "nodes" else ""
