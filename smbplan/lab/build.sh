#!/bin/sh
# Steps of the root filesystem's build that run beside or inside it; called by rootfs.py only.
#   build.sh fetch ROOT         mmdebstrap's hook: the packages of $LAB_REPO into ROOT's local repository
#   build.sh base ROOT          settings of the base layer, and its package lists
#   build.sh layer BASE UPPER   the packages of $LAB_LAYER on top of BASE, as an overlay's upper directory
# base and layer run in mount and network namespaces of their own: no network, and no mount survives.
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

    # Started by init.sh's choice only. The daemon keeps the pool for as long as the machine lives.
    cat > etc/systemd/system/lab-zfs.service <<'UNIT'
[Unit]
Description=ZFS pool tank in a file
[Service]
ExecStart=/usr/sbin/zfs-fuse --no-daemon
ExecStartPost=/bin/sh -c 'until zpool list >/dev/null 2>&1; do sleep 0.05; done; zpool create -m /tank tank /run/smbplan-disks/*.zfs'
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
    work=$2.work merged=$2.merged
    mkdir -p "$2" "$work" "$merged"
    mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$work" lab "$merged"
    mount -t proc proc "$merged/proc"
    printf '#!/bin/sh\nexit 101\n' > "$merged/usr/sbin/policy-rc.d"
    chmod 755 "$merged/usr/sbin/policy-rc.d"
    chroot "$merged" apt-get -q -y install $LAB_LAYER
    # As a fresh machine without Samba's traces: nothing configured, nothing enabled.
    units=$(find "$2/lib/systemd/system" "$2/usr/lib/systemd/system" -maxdepth 1 -type f \
        \( -name '*.service' -o -name '*.socket' -o -name '*.timer' \) -printf '%f\n' 2>/dev/null | grep -v @ || :)
    chroot "$merged" systemctl --quiet disable $units 2>/dev/null || :
    rm -f "$merged"/etc/samba/smb.conf "$merged"/usr/sbin/policy-rc.d
    find "$merged/var/lib/samba" "$merged/var/cache/samba" -type f -delete
    rm -rf "$merged"/var/log/*.log "$merged"/var/log/apt/* "$merged"/var/cache/apt/*.bin "$merged"/run/*
    umount "$merged/proc" "$merged"
    rm -rf "$work" "$merged"
}

step=$1
shift
"$step" "$@"
