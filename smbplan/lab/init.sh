#!/bin/sh
# First process of a machine, in fresh mnt/uts/ipc/pid/net/cgroup namespaces: lays out its filesystem
# below $LAB_WORK, enters it and becomes systemd. Every mount made here goes with the namespace.
# Environment: LAB_WORK (an empty directory), LAB_SEED, LAB_LOWER (overlay's lowerdir), LAB_NAME,
# LAB_TAG (unique on the host), LAB_BTRFS and LAB_ZFS (a size, or empty), LAB_PVE (the cluster's shared
# folder, or empty), LAB_SHARED (its shared storage), LAB_SHARED_AT (where that is mounted, or empty), LAB_PACKAGE (the emulated API), LAB_BYTECODE (a folder
# for what Python makes of that), LAB_VMS (the disk and
# state of virtual machines, or empty), LAB_CGROUPS (controller=folder, of cgroup v1)
set -eu
umask 022
mount -t tmpfs -o mode=0755 "$LAB_TAG" "$LAB_WORK"
cd "$LAB_WORK"
mkdir upper work root disks
mount -t overlay -o "lowerdir=$LAB_LOWER,upperdir=$LAB_WORK/upper,workdir=$LAB_WORK/work" "$LAB_TAG" root
cp -a "$LAB_SEED/." root/
hostname "$LAB_NAME"

cd root
mount -t proc -o nosuid,nodev,noexec proc proc
# The host's kernel settings are not the machine's to change; those of its own network are.
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
    mount --bind proc/sysrq-trigger proc/sysrq-trigger
    mount -o remount,bind,ro proc/sysrq-trigger
fi
# Read-only sysfs also tells systemd that there is no hardware to wait for.
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount -o remount,bind,ro sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
mkdir -p dev/pts dev/shm dev/net run/lock run/sshd
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm

node() { mknod -m "$1" "dev/$2" "$3" "$4" "$5"; }
node 666 null c 1 3
node 666 zero c 1 5
node 666 full c 1 7
node 666 random c 1 8
node 666 urandom c 1 9
node 666 tty c 5 0
node 666 fuse c 10 229
node 600 loop-control c 10 237
node 660 net/tun c 10 200
node 660 kvm c 10 232
# What init prints goes nowhere: the real console is the host's.
node 600 console c 1 3
# No udev here: nodes for the host's loop devices and for those that the kernel may still add.
set -- sys/block/loop*
last=$(($# + 16)) number=0
while [ $number -lt $last ]; do
    node 660 "loop$number" b 7 "$number"
    number=$((number + 1))
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

if [ -n "$LAB_PVE" ]; then
    # The kernel lets a container mount its own proc and sysfs only where it sees ones with nothing on top.
    mkdir -p dev/.lxc/proc dev/.lxc/sys etc/pve usr/share/smbplan-lab/smbplan/lab/pve
    mount -t proc proc dev/.lxc/proc
    mount -t sysfs sysfs dev/.lxc/sys
    mount --bind "$LAB_PACKAGE" usr/share/smbplan-lab/smbplan/lab/pve
    mount -o remount,bind,ro usr/share/smbplan-lab/smbplan/lab/pve
    mkdir -p usr/share/smbplan-lab/bytecode
    mount --bind "$LAB_BYTECODE" usr/share/smbplan-lab/bytecode
    mount --bind "$LAB_PVE" etc/pve
    mount --bind "etc/pve/nodes/$LAB_NAME" etc/pve/local
    for name in lxc qemu-server; do mount --bind "etc/pve/nodes/$LAB_NAME/$name" "etc/pve/$name"; done
    mkdir -p mnt/pve/shared
    mount --bind "$LAB_SHARED" mnt/pve/shared
    if [ -n "$LAB_VMS" ]; then
        mkdir -p usr/share/smbplan-lab/vm
        mount --bind "$LAB_VMS" usr/share/smbplan-lab/vm
        mount -o remount,bind,ro usr/share/smbplan-lab/vm
    fi
    for pair in $LAB_CGROUPS; do
        mkdir -p "run/lab-cgroup/${pair%%=*}"
        mount --bind "${pair#*=}" "run/lab-cgroup/${pair%%=*}"
    done
fi

if [ -n "$LAB_SHARED_AT" ]; then
    mkdir -p ".$LAB_SHARED_AT"
    mount --bind "$LAB_SHARED" ".$LAB_SHARED_AT"
fi

mkdir -p disks mnt/lab-old run/smbplan-disks
mount --bind ../disks run/smbplan-disks
pivot_root . mnt/lab-old
cd /
umount -l /mnt/lab-old
rmdir /mnt/lab-old

# As on PVE: what the node unmounts goes from the view of its containers' monitors, too.
[ -z "$LAB_PVE" ] || mount --make-rshared /

# The image's name carries the tag: `lab down` finds the loop device by it, whatever else was lost.
if [ -n "$LAB_BTRFS" ]; then
    image=/run/smbplan-disks/$LAB_TAG.btrfs
    truncate -s "$LAB_BTRFS" "$image"
    mkfs.btrfs -q -K "$image" 2>&1
    # mount sets the loop device's autoclear: it is freed with the last mount, even after kill -9.
    mount -o loop "$image" /mnt/btrfs
    btrfs quota enable /mnt/btrfs
fi
if [ -n "$LAB_ZFS" ]; then
    truncate -s "$LAB_ZFS" "/run/smbplan-disks/$LAB_TAG.zfs"
    ln -sf ../lab-zfs.service /etc/systemd/system/multi-user.target.wants/lab-zfs.service
fi
exec setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time env -i container=lab \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 /sbin/init
