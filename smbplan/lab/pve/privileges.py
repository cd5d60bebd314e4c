"""Privileges and built-in roles of both versions (9.1 as recorded; 8.4 from its documentation)."""

_PRIVILEGES = {
    "Datastore": "Allocate AllocateSpace AllocateTemplate Audit",
    "Group": "Allocate",
    "Mapping": "Audit Modify Use",
    "Permissions": "Modify",
    "Pool": "Allocate Audit",
    "Realm": "Allocate AllocateUser",
    "SDN": "Allocate Audit Use",
    "Sys": "AccessNetwork Audit Console Incoming Modify PowerMgmt Syslog",
    "User": "Modify",
    "VM": "Allocate Audit Backup Clone Config.CDROM Config.CPU Config.Cloudinit Config.Disk Config.HWType "
    "Config.Memory Config.Network Config.Options Console Migrate PowerMgmt Snapshot Snapshot.Rollback",
}
_NEW = (
    "VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite "
    "VM.GuestAgent.Unrestricted VM.Replicate"
)


def privileges(dialect: float) -> frozenset[str]:
    """Every privilege of the version."""
    common = {f"{area}.{name}" for area, names in _PRIVILEGES.items() for name in names.split()}
    return frozenset(common | (set(_NEW.split()) if dialect >= 9 else {"VM.Monitor"}))


def roles(dialect: float) -> dict[str, frozenset[str]]:
    """The roles that can't be changed."""
    every = privileges(dialect)

    def area(*names: str) -> frozenset[str]:
        return frozenset(name for name in every if name.partition(".")[0] in names)

    administrators = {"Permissions.Modify", "Realm.Allocate", "Mapping.Modify"}
    system = {f"Sys.{name}" for name in ("AccessNetwork", "Incoming", "Modify", "PowerMgmt")}
    user = "VM.Audit VM.Backup VM.Config.CDROM VM.Config.Cloudinit VM.Console VM.PowerMgmt"
    agent = "Audit FileRead FileSystemMgmt FileWrite"
    named: dict[str, frozenset[str]] = {
        "Administrator": every,
        "NoAccess": frozenset(),
        "PVEAdmin": every - administrators - system,
        "PVEAuditor": frozenset(name for name in every if name.endswith(".Audit")),
        "PVEDatastoreAdmin": area("Datastore"),
        "PVEDatastoreUser": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
        "PVEMappingAdmin": area("Mapping"),
        "PVEMappingUser": frozenset({"Mapping.Audit", "Mapping.Use"}),
        "PVEPoolAdmin": area("Pool"),
        "PVEPoolUser": frozenset({"Pool.Audit"}),
        "PVESDNAdmin": area("SDN"),
        "PVESDNUser": frozenset({"SDN.Audit", "SDN.Use"}),
        "PVESysAdmin": frozenset({"Sys.Audit", "Sys.Console", "Sys.Syslog"}),
        "PVETemplateUser": frozenset({"VM.Audit", "VM.Clone"}),
        "PVEUserAdmin": frozenset({"Group.Allocate", "Realm.AllocateUser", "User.Modify"}),
        "PVEVMAdmin": area("VM"),
        "PVEVMUser": every & (set(user.split()) | {f"VM.GuestAgent.{name}" for name in agent.split()}),
    }
    return named
