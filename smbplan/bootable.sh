#!/bin/sh
# mmdebstrap's hooks that make a root filesystem the disk of a virtual machine.
#   bootable.sh before ROOT     settings that its kernel's installation reads already
#   bootable.sh after ROOT      what it starts by, and what it does at a first start
#   bootable.sh grub ROOT       GRUB's first sector and core into the file $IMAGE_GRUB
#   bootable.sh disk ROOT       its file system into the file $IMAGE_DISK, at 1 MiB
set -eu
# The cloud-init drive has to be there when systemd asks, before it loads anything.
MODULES='ata_piix virtio_pci virtio_scsi virtio_blk sd_mod sr_mod ext4 crc32c_generic'

before() {
    mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks" "$1/etc/cloud/cloud.cfg.d"
    printf 'MODULES=list\nCOMPRESS=zstd\n' > "$1/etc/initramfs-tools/conf.d/smbplan"
    printf '#!/bin/sh\n[ "${1-}" != prereqs ] || exit 0\n. /usr/share/initramfs-tools/hook-functions\n%s\n' \
        "manual_add_modules $MODULES" > "$1/etc/initramfs-tools/hooks/smbplan"
    chmod 755 "$1/etc/initramfs-tools/hooks/smbplan"
}

after() {
    cd "$1"
    echo 'LABEL=root / ext4 defaults,errors=remount-ro 0 1' > etc/fstab
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' > etc/hosts
    mkdir -p boot/grub etc/network/interfaces.d
    # What cloud-init writes has the loopback, too, with the name servers.
    echo 'source /etc/network/interfaces.d/*' > etc/network/interfaces
    mkdir -p etc/ssh/sshd_config.d
    echo 'PasswordAuthentication no' > etc/ssh/sshd_config.d/smbplan.conf
    # Debian keeps these links on its newest kernel, so that nothing has to write this file again.
    cat > boot/grub/grub.cfg <<'GRUB'
set timeout=0
linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200 net.ifnames=0
initrd /initrd.img
boot
GRUB
    # What cloud-init does at a start, and no more: each of its modules costs time.
    cat > etc/cloud/cloud.cfg <<'CLOUD'
datasource_list: [NoCloud, ConfigDrive, None]
disable_root: false
ssh_genkeytypes: [ed25519]
ssh_quiet_keygen: true
no_ssh_fingerprints: true
users: []
preserve_hostname: false
cloud_init_modules: [growpart, resizefs, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user]
system_info:
  distro: debian
  default_user: {name: root, lock_passwd: true}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
  ssh_svcname: ssh
output: {all: '>> /var/log/cloud-init-output.log'}
log_cfgs:
  - |
    [loggers]
    keys=root,cloudinit
    [handlers]
    keys=file
    [formatters]
    keys=line
    [logger_root]
    level=INFO
    handlers=file
    [logger_cloudinit]
    level=INFO
    handlers=
    qualname=cloudinit
    [handler_file]
    class=FileHandler
    level=INFO
    formatter=line
    args=('/var/log/cloud-init.log', 'a', 'UTF-8')
    [formatter_line]
    format=%(asctime)s - %(filename)s[%(levelname)s]: %(message)s
CLOUD
    rm -f etc/cloud/cloud.cfg.d/*
    chroot . passwd --quiet --lock root
    for unit in e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
        chroot . systemctl --quiet disable "$unit" 2>/dev/null || :
    done
}

grub() {
    # GRUB itself is only needed here: unpacked beside the system, and gone again.
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q --yes --download-only --no-install-recommends install grub-pc-bin
    mkdir "$1/tmp/grub"
    for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --extract "$deb" "$1/tmp/grub"; done
    rm -f "$1"/var/cache/apt/archives/*.deb
    libraries=$(find "$1/tmp/grub" -name '*.so.*' -printf '/tmp/grub/%P\n' | sed 's|/[^/]*$||' | sort -u | tr '\n' ':')
    chroot "$1" env "LD_LIBRARY_PATH=$libraries" /tmp/grub/usr/bin/grub-mkimage --directory=/tmp/grub/usr/lib/grub/i386-pc \
        --format=i386-pc --output=/tmp/grub/core --prefix='(hd0,msdos1)/boot/grub' \
        biosdisk part_msdos ext2 normal linux configfile search
    cat "$1/tmp/grub/usr/lib/grub/i386-pc/boot.img" "$1/tmp/grub/core" > "$IMAGE_GRUB"
    rm -rf "$1/tmp/grub"
}

disk() {
    # Seen through a second mount, without what is mounted in it.
    mkdir "$IMAGE_DISK.root"
    mount --bind "$1" "$IMAGE_DISK.root"
    mke2fs -q -t ext4 -L root -d "$IMAGE_DISK.root" -E offset=1048576,nodiscard,root_owner=0:0 \
        "$IMAGE_DISK" "$(($(stat -c %s "$IMAGE_DISK") / 1024 - 1024))k"
    umount "$IMAGE_DISK.root"
    rmdir "$IMAGE_DISK.root"
}

step=$1
shift
"$step" "$@"
