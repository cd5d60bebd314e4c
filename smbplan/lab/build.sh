#!/bin/sh
# Steps of the root filesystems' build that run beside or inside it; called by rootfs.py only.
#   build.sh fetch ROOT         mmdebstrap's hook: the packages of $LAB_REPO into ROOT's local repository
#   build.sh base ROOT          settings of the base layer, and its package lists
#   build.sh layer BASE UPPER PACKAGE…   packages on top of BASE, as an overlay's upper directory
#   build.sh templates ROOT UPPER        container templates from ROOT, and their repository, into UPPER
# All but fetch run in mount and network namespaces of their own: no network, and no mount survives.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
REPO=/var/cache/smbplan-debs

fetch() {
    # The chroot's own state decides what is missing, so the repository holds no package of the base.
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --download-only --no-install-recommends install $LAB_REPO
    mkdir -p "$1$REPO"
    mv "$1"/var/cache/apt/archives/*.deb "$1$REPO/"
}

base() {
    cd "$1"
    # The local repository is the only source: a node installs Samba without any network.
    rm -rf etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap var/lib/apt/lists/* var/cache/apt/*.bin
    echo "deb [trusted=yes] file:$REPO ./" > etc/apt/sources.list
    printf '%s\n' 'APT::Install-Recommends "false";' 'APT::Sandbox::User "root";' \
        'Acquire::Languages "none";' > etc/apt/apt.conf.d/90lab
    chroot . apt-get -q update

    # Units that wait for hardware, touch the host's kernel settings or only cost boot time.
    for unit in $LAB_MASKED; do ln -sf /dev/null "etc/systemd/system/$unit"; done
    # Each reload of systemd runs all generators; but for init scripts they look for hardware and mounts.
    mkdir -p etc/systemd/system-generators
    for generator in usr/lib/systemd/system-generators/* lib/systemd/system-generators/*; do
        case $generator in
        */systemd-sysv-generator | *'*') ;;
        *) ln -sf /dev/null "etc/systemd/system-generators/${generator##*/}" ;;
        esac
    done
    rm -f etc/systemd/system/*.wants/zfs-fuse.service etc/rc?.d/S??zfs-fuse
    ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    mkdir -p etc/systemd/journald.conf.d etc/systemd/system.conf.d etc/systemd/system/ssh.service.d
    printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' > etc/systemd/journald.conf.d/lab.conf
    printf '[Manager]\nDefaultTimeoutStopSec=10s\nStatusUnitFormat=name\n' > etc/systemd/system.conf.d/lab.conf
    # sshd needs nothing of the boot but the journal; starting it early is half of "up within a second".
    cat > etc/systemd/system/ssh.service.d/lab.conf <<'UNIT'
[Unit]
DefaultDependencies=no
After=
After=systemd-journald.socket
[Service]
ExecStartPre=
UNIT

    # The clock of a lab's machines is this host's, which nobody sets from there.
    mkdir -p etc/systemd/system/chrony.service.d
    printf '[Unit]\nConditionCapability=\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -x -F 1\n' \
        > etc/systemd/system/chrony.service.d/lab.conf

    # Started by init.sh's choice only; a daemon that starts anew finds the pool again.
    cat > etc/systemd/system/lab-zfs.service <<'UNIT'
[Unit]
Description=ZFS pool tank in a file
[Service]
ExecStartPre=/bin/sh -c 'grep " fuse.zfs " /proc/mounts | cut -d" " -f2 | sort -r | xargs -r -n1 umount -l'
ExecStart=/usr/sbin/zfs-fuse --no-daemon
ExecStartPost=/bin/sh -c 'until zpool list >/dev/null 2>&1; do sleep 0.05; done; zpool list tank || zpool import -d /run/smbplan-disks tank || zpool create -m /tank tank /run/smbplan-disks/*.zfs; zfs mount -a'
UNIT
    # sshd is up before systemd has removed this file, which would keep everybody but root out.
    ln -sf /dev/null etc/tmpfiles.d/systemd-nologin.conf

    cat > etc/ssh/sshd_config.d/lab.conf <<'SSHD'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
GSSAPIAuthentication no
PrintMotd no
MaxStartups 1000
MaxSessions 1000
SSHD
    # Every node gets its own key when it starts.
    rm -f etc/ssh/ssh_host_* etc/machine-id var/lib/dbus/machine-id
    : > etc/motd

    chroot . useradd --create-home --uid 1000 --shell /bin/bash admin
    echo 'admin ALL=(ALL) NOPASSWD: ALL' > etc/sudoers.d/lab
    chmod 0440 etc/sudoers.d/lab
    install -d -m 0700 root/.ssh
    install -d -m 0700 -o 1000 -g 1000 home/admin/.ssh
    mkdir -p mnt/btrfs run/sshd
    rm -rf var/log/*.log var/log/apt/*
}

layer() {
    lower=$1 upper=$2 work=$2.work merged=$2.merged
    shift 2
    mkdir -p "$upper" "$work" "$merged"
    mount -t overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" lab "$merged"
    add "$merged" "$@"
    # As a fresh machine without traces of the packages: nothing configured, nothing enabled.
    disable "$upper" "$merged"
    umount "$merged"
    rm -rf "$work" "$merged"
}

add() {
    root=$1
    shift
    mount -t proc proc "$root/proc"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    chroot "$root" apt-get -q -y install "$@"
    rm -f "$root"/etc/samba/smb.conf "$root"/usr/sbin/policy-rc.d
    find "$root"/var/lib/samba "$root"/var/cache/samba -type f -delete 2>/dev/null || :
    rm -rf "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/var/cache/apt/*.bin "$root"/run/*
    umount "$root/proc"
}

disable() {
    units=$(find "$1/lib/systemd/system" "$1/usr/lib/systemd/system" -maxdepth 1 -type f \
        \( -name '*.service' -o -name '*.socket' -o -name '*.timer' \) -printf '%f\n' 2>/dev/null | grep -v @ || :)
    chroot "$2" systemctl --quiet disable $units 2>/dev/null || :
}

templates() {
    cache=$2/var/lib/vz/template/cache
    mkdir -p "$cache" "$2/var/cache"
    mv "$1$REPO" "$2$REPO-templates"
    cd "$1"
    rm -rf etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap var/lib/apt/lists/* var/cache/apt/*.bin
    # Nodes lend their containers this folder: there is no other package source in a lab.
    echo "deb [trusted=yes] file:$REPO ./" > etc/apt/sources.list
    printf '%s\n' 'APT::Sandbox::User "root";' 'Acquire::Languages "none";' > etc/apt/apt.conf.d/90lab
    mkdir ".$REPO"
    mount --bind "$2$REPO-templates" ".$REPO"
    chroot . apt-get -q update
    # The first can't be mounted in a container; the others look for a package source that isn't there.
    ln -sf /dev/null etc/systemd/system/sys-kernel-debug.mount
    rm -f etc/systemd/system/timers.target.wants/* etc/resolv.conf etc/hostname
    ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    : > etc/machine-id
    pack "$cache/debian-$LAB_DEBIAN-standard_$LAB_DEBIAN.7-1_$LAB_ARCH.tar.zst"

    find lib/systemd/system usr/lib/systemd/system -maxdepth 1 > ../units 2>/dev/null || :
    add "$PWD" --no-install-recommends $LAB_TEMPLATE_SAMBA
    units=$(find lib/systemd/system usr/lib/systemd/system -maxdepth 1 -name '*.service' 2>/dev/null |
        grep -vxF -f ../units | sed 's|.*/||' | grep -v @ || :)
    chroot . systemctl --quiet disable $units 2>/dev/null || :
    pack "$cache/debian-$LAB_DEBIAN-samba_1_$LAB_ARCH.tar.zst"
    umount ".$REPO"
    rm -f ../units
}

pack() {
    tar --create --one-file-system --numeric-owner --xattrs --acls --exclude './dev/*' --exclude "./${REPO#/}/*" . |
        zstd -q -T0 -9 -o "$1"
}

step=$1
shift
"$step" "$@"
