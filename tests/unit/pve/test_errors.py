"""Answers of a PVE 9.1, as it words them, and the sentences that a person gets."""

import pytest

from smbplan.drivers.pve import errors
from smbplan.drivers.pve.errors import ApiError, Denied

WHO, WHERE = "ops@pve!smbplan", "pve1:8006"
FAILED = "Parameter verification failed."


def told(method: str, path: str, status: int, reason: str, **rest: object) -> ApiError:
    message, wrong = str(rest.get("message", "")), rest.get("errors", {})
    return errors.refusal(WHO, WHERE, method, path, status, reason, message, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "status", "reason", "summary"),
    [
        ("version", 401, "Authentication failed!", "pve1:8006 does not accept the credentials of ops@pve!smbplan"),
        ("storage", 403, "Permission check failed (/, Sys.Modify)", "ops@pve!smbplan lacks Sys.Modify on /"),
        (
            "nodes/pve1/lxc",
            403,
            "Permission check failed (/storage/local, Datastore.AllocateSpace|Datastore.Allocate)",
            "ops@pve!smbplan lacks Datastore.AllocateSpace or Datastore.Allocate on /storage/local",
        ),
        (
            "nodes/pve1/lxc/100/config",
            403,
            "mount point type bind is only allowed for root@pam",
            "only root@pam itself may do this, and no token of his: mount point type bind is only allowed for root@pam",
        ),
        ("nodes/pve2/lxc", 595, "No route to host", "pve1:8006 can't reach node pve2"),
        ("nodes/pve2/lxc", 596, "tls_process", "the API's worker on pve2 ended without an answer"),
        ("nosuch", 501, "Method 'GET /nosuch' not implemented", "pve1:8006 has no such function"),
        ("nodes/pve1/lxc/100", 500, "CT is locked (backup)", "Proxmox: CT is locked (backup)"),
        (
            "nodes/pve1/lxc",
            500,
            "CT 100 already exists on node 'pve1'",
            "Proxmox: CT 100 already exists on node 'pve1'",
        ),
    ],
)
def test_sentences(path: str, status: int, reason: str, summary: str) -> None:
    error = told("GET", path, status, reason)
    assert error.summary == summary
    assert error.status == status and reason in error.detail
    assert isinstance(error, Denied) == (status in (401, 403))
    assert error.hint or status == 500


def test_who_may_not_create_containers_is_told_no_privilege_by_proxmox() -> None:
    error = told("POST", "nodes/pve1/lxc", 403, "Permission check failed")
    assert error.summary == "ops@pve!smbplan lacks VM.Allocate on /vms"


def test_wrong_parameters_are_all_named() -> None:
    wrong = {"memory": "type check ('integer') failed - got 'abc'", "hostname": "invalid format - no DNS name\n"}
    error = told("POST", "nodes/pve1/lxc", 400, FAILED, message=f"{FAILED}\n", errors=wrong)
    assert error.summary == (
        "Proxmox refuses hostname: invalid format - no DNS name; memory: type check ('integer') failed - got 'abc'"
    )


def test_the_body_says_more_than_the_reason() -> None:
    error = told("POST", "pools", 500, f"400 {FAILED}", message="pool 'x' is not empty\n")
    assert error.summary == "Proxmox: pool 'x' is not empty"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "Permission check failed (pool 'nopool' does not exist)"), (500, "pool 'nopool' does not exist")],
)
def test_an_unknown_pool_is_told_with_the_way_out(status: int, reason: str) -> None:
    error = told("PUT", "pools", status, reason)
    assert error.summary == "Proxmox has no pool nopool"
    assert "pvesh create /pools --poolid nopool" in error.hint and "pool:" in error.hint


def test_an_unknown_node_is_told_with_the_way_out() -> None:
    words = "hostname lookup 'pve9' failed - failed to get address info for: pve9: Name or service not known"
    error = told("POST", "nodes/pve9/lxc", 500, words)
    assert error.summary == "the cluster has no node pve9" and words in error.detail
    assert "pvecm nodes" in error.hint and "node:" in error.hint


def test_a_lock_is_explained() -> None:
    error = told("PUT", "nodes/pve1/lxc/100/config", 500, "CT is locked (backup)")
    assert "backup has ended" in error.hint and "pct unlock" in error.hint


@pytest.mark.parametrize(
    ("method", "status", "words", "before"),
    [
        ("PUT", 500, "CT is locked (backup)", True),
        ("PUT", 500, "VM is locked (backup)\n", True),
        ("POST", 500, "CT is locked (backup)", False),
        ("DELETE", 500, "CT is locked (backup)", False),
        ("PUT", 400, "CT is locked (backup)", False),
        ("PUT", 500, "unable to hotplug mp0: CT is locked (backup)", False),
        ("PUT", 500, "can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout", False),
    ],
)
def test_only_a_change_that_a_lock_keeps_from_beginning_is_locked(
    method: str, status: int, words: str, before: bool
) -> None:
    assert isinstance(told(method, "nodes/pve1/lxc/100/config", status, words), errors.Locked) is before


def test_missing_objects_are_told_by_their_words() -> None:
    words = "Configuration file 'nodes/pve1/lxc/999.conf' does not exist"
    assert told("GET", "nodes/pve1/lxc/999/config", 500, words).missing
    assert not told("GET", "nodes/pve1/lxc/999/config", 500, "CT is locked (backup)").missing


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "signed by nobody"),
        ("[Errno 111] Connection refused", "nothing answers on that port"),
        ("Name or service not known", "host name is not known"),
        ("Connection to pve1 timed out", "no answer"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "speaks no TLS"),
        ("something else", "can't be reached"),
    ],
)
def test_connections_that_are_not_made(words: str, part: str) -> None:
    error = errors.unreached(WHERE, OSError(words))
    assert part in error.summary and error.hint and error.status == 0


def test_another_certificate_is_shown_with_its_fingerprint() -> None:
    words = f'Fingerprints did not match. Expected "{"ab" * 32}", got "{"cd" * 32}"'
    error = errors.unreached(WHERE, OSError(words))
    shown, written = (":".join([pair] * 32) for pair in ("CD", "AB"))
    assert error.detail == f"its fingerprint is {shown}, and {written} is written"
