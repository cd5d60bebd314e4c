"""The check of requests finds what it is for."""

import pytest
from lab.published import violations

CONFIG = "nodes/pve1/lxc/100/config"


@pytest.mark.parametrize(
    ("method", "path", "params", "words"),
    [
        ("GET", "nodes/pve1/lxc/100/conf", {}, "there is no such function"),
        ("PATCH", CONFIG, {}, "there is no such function"),
        ("PUT", CONFIG, {"foo": 1}, "foo is no parameter"),
        ("PUT", CONFIG, {"memory": "a"}, "memory=a is no integer"),
        ("PUT", CONFIG, {"memory": 1}, "memory=1 is not within 16 and None"),
        ("PUT", CONFIG, {"onboot": "yes"}, "onboot=yes is no boolean"),
        ("PUT", CONFIG, {"net0": "name=eth0,oops=1"}, "oops is no parameter"),
        ("PUT", CONFIG, {"net0": "bridge=vmbr0"}, "name is missing"),
        ("PUT", CONFIG, {"description": "x" * 9000}, "description has 9000 characters"),
        ("POST", "nodes/pve1/lxc", {"vmid": 99, "ostemplate": "local:vztmpl/x"}, "vmid=99 is not within 100"),
        ("POST", "nodes/pve1/lxc", {"vmid": 100}, "ostemplate is missing"),
    ],
)
def test_violations(method: str, path: str, params: dict[str, object], words: str) -> None:
    assert any(words in found for found in violations(method, path, params)), violations(method, path, params)


def test_a_good_request_has_none() -> None:
    given = {"memory": 512, "onboot": True, "mp3": "local:8,mp=/srv/x,backup=1", "delete": "net0,startup"}
    assert violations("PUT", CONFIG, given) == []


def test_what_is_new_in_9_is_no_parameter_of_8_4() -> None:
    assert violations("PUT", CONFIG, {"env": "A=1"}) == []
    assert violations("PUT", CONFIG, {"env": "A=1"}, "8.4") == [f"PUT {CONFIG}: env is no parameter"]
