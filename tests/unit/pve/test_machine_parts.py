"""What a virtual machine's ID.conf means to QEMU and cloud-init, and what image files tell."""

import struct
from pathlib import Path

import pytest

from smbplan import bootable
from smbplan.lab.pve import vm_cloudinit, vm_config, vm_files, vm_folders, vm_parts
from smbplan.lab.pve.machine import MachineError
from smbplan.lab.pve.vm_qemu import Shape

CONFIG = {
    "agent": "enabled=1,fstrim_cloned_disks=1",
    "boot": "order=scsi0;net0",
    "cores": "2",
    "ide2": "local:100/vm-100-cloudinit.qcow2,media=cdrom",
    "ipconfig0": "ip=198.18.0.5/24,gw=198.18.0.1,ip6=dhcp",
    "memory": "512",
    "name": "office",
    "nameserver": "198.18.0.9 198.18.0.8",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,link_down=1",
    "scsi0": "local:9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2,size=2G",
    "scsi1": "local:100/vm-100-disk-1.qcow2,serial=abc,size=1G",
    "searchdomain": "example.com",
    "sshkeys": "ssh-ed25519%20AAAA%20a%0Assh-ed25519%20BBBB%20b%0A",
    "virtiofs0": "data,cache=always,expose-acl=1",
}


def test_the_parts_of_a_configuration() -> None:
    drives, card = vm_config.drives(CONFIG), vm_config.cards(CONFIG)["net0"]
    assert [(drive.key, drive.cdrom, drive.cloudinit, drive.serial) for drive in drives.values()] == [
        ("ide2", True, True, ""),
        ("scsi0", False, False, ""),
        ("scsi1", False, False, "abc"),
    ]
    assert (card.model, card.mac, card.bridge, card.up) == ("virtio", "bc:24:11:00:00:01", "vmbr0", False)
    assert vm_config.shape(CONFIG) == Shape(2, 512, "pc")
    assert vm_config.has_agent(CONFIG)
    assert vm_config.boot_order(CONFIG) == ["scsi0", "net0"]
    assert vm_config.boot_order({"scsi3": "local:1/a.raw", "ide2": "none,media=cdrom"}) == ["scsi3"]
    assert vm_config.shared_folders(CONFIG)["virtiofs0"]["dirid"] == "data"
    with pytest.raises(MachineError, match="no firmware 'ovmf'"):
        vm_config.shape({"bios": "ovmf"})


def test_devices_are_where_pve_has_them() -> None:
    drives = vm_config.drives(CONFIG)
    scsi = {"driver": "scsi-hd", "bus": "virtioscsi0.0", "channel": 0, "scsi-id": 0, "drive": "drive-scsi1"}
    assert vm_parts.front(drives["scsi1"], None) == scsi | {
        "id": "scsi1",
        "lun": 1,
        "serial": "abc",
        "device_id": "drive-scsi1",
    }
    assert vm_parts.front(drives["ide2"], None)["bus"] == "ide.1"
    assert vm_parts.front(drives["ide2"], None, any_bus=False)["driver"] == "scsi-cd"


def test_cloud_init_is_told_as_pve_tells_it() -> None:
    said = vm_cloudinit.user_data(100, CONFIG)
    assert said.startswith("#cloud-config\nhostname: office\nmanage_etc_hosts: true\nfqdn: office.example.com\n")
    assert "ssh_authorized_keys:\n  - ssh-ed25519 AAAA a\n  - ssh-ed25519 BBBB b\n" in said
    assert (
        vm_cloudinit.network(CONFIG)
        == """version: 1
config:
    - type: physical
      name: eth0
      mac_address: 'bc:24:11:00:00:01'
      subnets:
      - type: static
        address: '198.18.0.5/24'
        gateway: '198.18.0.1'
      - type: dhcp6
    - type: nameserver
      address:
      - '198.18.0.9'
      - '198.18.0.8'
      search:
      - 'example.com'
"""
    )


def test_a_mapping_is_the_nodes_own(tmp_path: Path) -> None:
    (tmp_path / "mapping").mkdir()
    text = f"dir: one\n\tmap node=pve2,path=/x\n\tmap node=pve1,path={tmp_path}\n\ntwo\n\tmap node=pve1,path=/nosuch\n"
    (tmp_path / "mapping/directory.cfg").write_text(text)
    assert vm_folders.mapped(tmp_path, "pve1", "one") == tmp_path
    for node, name, why in (
        ("pve3", "one", "no directory mapping entry"),
        ("pve1", "two", "Path /nosuch does not exist"),
        ("pve1", "three", "cannot find mapping id 'three'"),
    ):
        with pytest.raises(MachineError, match=why):
            vm_folders.mapped(tmp_path, node, name)


def test_headers_of_image_files(tmp_path: Path) -> None:
    raw, overlay = tmp_path / "a.raw", tmp_path / "b.qcow2"
    raw.write_bytes(bytes(4096))
    overlay.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 32, 5, 16, 2**31) + b"a.raw")
    assert [vm_files.form(path) for path in (raw, overlay)] == ["raw", "qcow2"]
    assert [vm_files.size(path) for path in (raw, overlay)] == [4096, 2**31]
    assert [vm_files.backing(path) for path in (raw, overlay)] == [None, raw.resolve()]
    assert not vm_files.over_base(overlay)


def test_a_disk_starts_by_what_is_in_the_gap_before_its_partition(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2**21))
    bootable._make_bootable(disk, b"B" * 512 + b"core")
    made = disk.read_bytes()
    assert made[:440] == b"B" * 440
    assert made[440:446] == bytes(6)
    assert struct.unpack("<B3xB3xII", made[446:462]) == (0x80, 0x83, 2048, 2048)
    assert made[510:516] == b"\x55\xaacore"
