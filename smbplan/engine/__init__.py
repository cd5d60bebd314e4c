"""The plan/apply engine. Pure: it knows resources, changes and steps, but no Samba, no Proxmox and no I/O."""
