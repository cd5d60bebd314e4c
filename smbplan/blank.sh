#!/bin/sh
# mmdebstrap's hook: leaves nothing in the root filesystem in $1 of this machine or of a first start.
# Environment: IMAGE_SOURCES (lines of sources.list), IMAGE_SERVED (packages whose services stay off),
# IMAGE_VERSION (a file for the version of Samba).
set -eu
cd "$1"
chroot . dpkg-query --showformat '${Version}' --show samba > "$IMAGE_VERSION"

# Where the machine will get its updates, whatever this one downloads from.
rm -rf etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap
printf '%s\n' "$IMAGE_SOURCES" > etc/apt/sources.list

# Nothing is served before smbplan has set it up.
for package in $IMAGE_SERVED; do
    # Only units: avahi-daemon has an example that is called ssh.service.
    units=$(chroot . dpkg --listfiles "$package" | sed -nE 's#.*/systemd/system/([^/@]+\.(service|socket))$#\1#p')
    for unit in $units; do chroot . systemctl --quiet disable "$unit" 2>/dev/null || :; done  # aliases can't be
done
ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target

# An empty machine-id is filled at the first start; a missing one would enable all services then.
: > etc/machine-id
rm -f var/lib/dbus/machine-id etc/ssh/ssh_host_* etc/hostname etc/samba/smb.conf
[ -L etc/resolv.conf ] || rm -f etc/resolv.conf
find var/lib/samba var/cache/samba run -mindepth 1 ! -type d -delete
rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/ldconfig/* tmp/* root/.bash_history
find var/log -type f -delete
