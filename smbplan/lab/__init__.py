"""The lab: throw-away Debian machines with real sshd and Samba, on a network of their own."""

from smbplan.lab.lab import Lab, LabStatus, NodeStatus
from smbplan.lab.tools import LabError

__all__ = ["Lab", "LabError", "LabStatus", "NodeStatus"]
