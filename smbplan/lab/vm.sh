#!/bin/sh
# vm.sh LOWER PACKAGE FOLDER WORK: prepares the machine of FOLDER's disk in a root filesystem made of the nodes' layers.
# Called by vm.py, in mount, process and network namespaces of its own, so that nothing survives.
set -eu
mount -t tmpfs -o mode=0755 lab "$4"
cd "$4"
mkdir upper work root
mount -t overlay -o "lowerdir=$1,upperdir=$4/upper,workdir=$4/work" lab root
cd root
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 600 dev/kvm c 10 232
mkdir -p usr/share/smbplan-lab/smbplan/lab/pve usr/share/smbplan-lab/vm
mount --bind "$2" usr/share/smbplan-lab/smbplan/lab/pve
mount --bind "$3" usr/share/smbplan-lab/vm
exec chroot . env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    PYTHONPATH=/usr/share/smbplan-lab PYTHONDONTWRITEBYTECODE=1 python3 -m smbplan.lab.pve.vm_prepare
