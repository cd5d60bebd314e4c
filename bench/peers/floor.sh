# Only what a plan has to know of a host: collected, not compared.
net conf list
getfacl -pR /srv/bench 2>/dev/null
getfattr -Rdm - /srv/bench 2>/dev/null
getent passwd
getent group
pdbedit -L
cat /etc/samba/smb.conf /var/lib/smbplan/inventory.json
systemctl show -p ActiveState,UnitFileState smbd
