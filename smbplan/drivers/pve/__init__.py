"""Proxmox VE by its HTTPS API: client, tasks, and errors as sentences."""
