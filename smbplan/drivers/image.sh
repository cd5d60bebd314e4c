#!/bin/sh
# mmdebstrap's hook: makes the root filesystem in $1 a container template, with nothing in it of this machine or of a
# first start. Environment: IMAGE_SOURCES (lines of sources.list), IMAGE_SERVED (packages whose services stay off),
# IMAGE_VERSION (a file for the version of Samba).
set -eu
cd "$1"
chroot . dpkg-query --showformat '${Version}' --show samba > "$IMAGE_VERSION"

# Where the container will get its updates, whatever this machine downloads from.
rm -rf etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap
printf '%s\n' "$IMAGE_SOURCES" > etc/apt/sources.list

# Nothing is served before smbplan has set it up.
for package in $IMAGE_SERVED; do
    units=$(chroot . dpkg --listfiles "$package" | grep -Eo '[^/@]+\.(service|socket)$' || :)
    for unit in $units; do chroot . systemctl --quiet disable "$unit" 2>/dev/null || :; done  # aliases can't be
done
ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
# Can't be mounted in an unprivileged container.
ln -sf /dev/null etc/systemd/system/sys-kernel-debug.mount

# An empty machine-id is filled at each container's first start; a missing one would enable all services then.
: > etc/machine-id
rm -f var/lib/dbus/machine-id etc/ssh/ssh_host_* etc/hostname etc/resolv.conf etc/samba/smb.conf
find var/lib/samba var/cache/samba run -mindepth 1 ! -type d -delete
rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/ldconfig/* tmp/* root/.bash_history
find var/log -type f -delete
