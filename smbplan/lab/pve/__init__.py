"""An emulated Proxmox VE: its HTTPS API and node commands over real files, for the lab's nodes.

Runs on a bare Debian 12 node, so nothing outside the standard library may be imported here.
All durable state is files below a folder that stands for /etc/pve; processes hold none.
"""
