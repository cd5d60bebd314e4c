"""A budget of seconds becomes CTDB's tunables, and a list of the faults that it covers. ctdb-tunables(7)

A node that is silent is given up after KeepaliveInterval × (KeepaliveLimit + 1) seconds. Was it the leader, the others
elect one, which has to get the cluster lock; that may outlive its holder. Then databases are recovered, and addresses
and smbd's locks are taken over.
"""

from dataclasses import dataclass

from smbplan.spec.ha import LEAST_FAILOVER

STOCK = 30  # seconds that stock tunables need: measured with Samba 4.17, 26 to 33
RECOVERY = 3  # seconds for recovery, takeover and the clients' new connections: measured, 1 to 3
LEAST_SILENCE = 3  # seconds; a busy node is easily silent for less
TAKES = {"ceph": 300, "nfs4": 90, "nfs": 90, "fuse.glusterfs": 42, "fuse.ceph": 300, "fuse.ceph-fuse": 300}
"""Seconds for which a dead node's lock of a file lasts, by type of file system: session_autoclose of an MDS, the lease
of an NFS server, network.ping-timeout of GlusterFS."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds."""

    silence: int  # after which a node is given up
    election: int
    leader: int  # without a word from the leader until it is looked for
    monitor: int  # between two looks at what a node serves

    @property
    def lost_node(self) -> int:
        return self.silence + RECOVERY

    def lost_leader(self, lock: int) -> int:
        """With a lock that outlives its holder so long."""
        return max(self.silence + self.election, lock) + RECOVERY

    @property
    def broken_service(self) -> int:
        return self.monitor + RECOVERY

    @property
    def tunables(self) -> dict[str, int]:
        timeout = max(5, self.silence)
        return {
            "ControlTimeout": 2 * timeout,
            "ElectionTimeout": self.election,
            "KeepaliveInterval": 1,
            "KeepaliveLimit": self.silence - 1,
            "MonitorInterval": self.monitor,
            "RecoverTimeout": 2 * timeout,
            "RecoveryDropAllIPs": timeout,  # of a node that is cut off; another one has them by then
            "RerecoveryTimeout": min(10, self.silence),  # a second fault right behind the first waits for it
            "TakeoverTimeout": timeout,
        }


def budget(failover: int) -> Budget:
    """As patient with silent nodes as the budget allows, and half of it for what else there is to do."""
    silence = max(LEAST_SILENCE, min(failover, STOCK) // 2 - 2)
    election = 1 if failover < 2 * STOCK // 3 else 3
    leader = max(2, min(5, silence // 2 + 1))
    return Budget(silence, election, leader, max(2, min(15, silence)))


def least(lock: int) -> int:
    """The shortest budget that holds for a lost leader, with a lock that outlives its holder so long."""
    return next(each for each in range(LEAST_FAILOVER, 10_000) if budget(each).lost_leader(lock) <= each)
