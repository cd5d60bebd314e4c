"""What may keep a host out of an Active Directory domain, found out one after the other, and said with its remedy."""

from __future__ import annotations

import calendar
import os
import socket
import time
from typing import Any, Iterator

from . import clock, dns
from .core import Refused, unseal

PORTS = {88: "Kerberos", 389: "LDAP", 445: "SMB"}
PATIENCE = 3.0  # seconds for one answer
SKEW = 300.0  # seconds that Kerberos allows: RFC 4120, 1.6
# Where an account's names stand, and what precedes each; cifs is part of HOST: [MS-ADTS] 6.1.1.2.4.1, sPNMappings
NAMED = {"msDS-AdditionalDnsHostName": ("",), "servicePrincipalName": ("HOST/", "cifs/", "RestrictedKrbHost/")}
COMPUTERS = "AA312825768811D1ADED00C04FD8D5CD"  # GUID_COMPUTERS_CONTAINER_W, [MS-ADTS] 6.1.1.4
# [MS-ERREF] 2.3.1: what is wrong with an account, and the remedy.
PASSWORD, ANOTHER = "correct join.password", "or join with another account"
REFUSALS = {
    0xC000006D: ("wrong-password", "the password of {user} is wrong, or there is no such account", PASSWORD),
    0xC000006A: ("wrong-password", "the password of {user} is wrong", PASSWORD),
    0xC0000064: ("no-account", "there is no account {user} in {realm}", "correct join.user"),
    0xC0000234: ("locked", "the account {user} is locked out", f"unlock it (samba-tool user unlock), {ANOTHER}"),
    0xC0000072: ("disabled", "the account {user} is disabled", f"enable it, {ANOTHER}"),
    0xC0000193: ("expired", "the account {user} has expired", f"give it a later date, {ANOTHER}"),
    0xC0000071: ("password-expired", "the password of {user} has expired", f"set a new one; {PASSWORD}"),
    0xC0000224: ("password-expired", "{user} has to change the password first", f"set a new one; {PASSWORD}"),
    0xC000006E: (
        "restricted",
        "{user} may not log on with its password, as a member of Protected Users or with NTLM forbidden",
        f"{ANOTHER[3:]}, or prepare the join: offline_join:",
    ),
    0xC000006F: ("hours", "{user} may not log on at this hour", f"change its logon hours, {ANOTHER}"),
    0xC0000070: ("workstation", "{user} may not log on from here", f"change where it may log on, {ANOTHER}"),
}


class Trouble(Exception):
    """A check that failed: what is so, what was tried, and how to go on."""

    def __init__(self, code: str, summary: str, tried: str, hint: str) -> None:
        super().__init__(summary)
        self.code, self.summary, self.tried, self.hint = code, summary, tried, hint


class Domain:
    """A domain as a host sees it. `wanted`: realm, workgroup, name, and options; `login`: user and password."""

    def __init__(self, wanted: dict[str, Any], login: dict[str, Any] | None) -> None:
        self.realm, self.workgroup, self.name = wanted["realm"], wanted["workgroup"], wanted["name"]
        self.servers, self.ou = list(wanted.get("servers") or ()), wanted.get("ou") or ""
        self.ad_site, self.follows = wanted.get("ad_site") or "", bool(wanted.get("time"))
        self.aliases = list(wanted.get("aliases") or ())
        self.nameservers = list(wanted.get("nameservers") or ()) or dns.nameservers()
        self.login = login or {}
        self.own = False  # whether the account of that name is this host's
        self.controllers: list[str] = []
        self.controller = self.at = ""  # its name and its address
        self._directory: Any = None

    def checks(self) -> Iterator[tuple[str, Any]]:
        """(name, call) in the order in which one needs the other; a call returns what it found, or raises Trouble."""
        yield "dns", self.resolves
        yield "controller", self.reaches
        yield "workgroup", self.is_called
        yield "clock", self.agrees_on_time
        if self.login:
            yield "account", self.logs_in
            yield "unit", self.has_unit
            yield "name", self.has_name_free
            yield "aliases", self.has_aliases_free
            yield "right", self.may_join

    def resolves(self) -> str:
        if self.servers:
            self.controllers = self.servers
            return f"not asked: servers names {', '.join(self.servers)}"
        asked = self.nameservers
        name = dns.srv(self.realm, self.ad_site)
        if not asked:
            raise Trouble(
                "no-dns", "this host has no name server", str(dns.RESOLVER), "write nameservers: at the domain"
            )
        answers = {server: dns.query(server, name, "SRV") for server in asked}
        tried = f"{name} SRV at {', '.join(asked)}"
        for server, found in answers.items():
            if found:
                self.controllers = found
                return f"{len(found)} controllers: {', '.join(found)} (by {server})"
        if all(found is None for found in answers.values()):
            raise Trouble(
                "dns-silent", "no name server has an answer", tried, "write the controllers' addresses at nameservers:"
            )
        if not any(dns.query(server, self.realm.lower(), "SOA") for server in asked):
            hint = "write the addresses of the domain's own name servers, mostly its controllers, at nameservers:"
            raise Trouble("wrong-dns", f"the name servers do not know {self.realm.lower()}", tried, hint)
        if self.ad_site and any(dns.query(server, dns.srv(self.realm), "SRV") for server in asked):
            hint = "correct ad_site:, or leave it out; `samba-tool sites list` and dssite.msc name them"
            raise Trouble("no-site", f"{self.realm} has no controller in the site {self.ad_site}", tried, hint)
        hint = "on a controller, samba_dnsupdate or `nltest /dsregdns` registers them anew"
        raise Trouble("no-srv", f"{self.realm.lower()} has no records for its controllers", tried, hint)

    def reaches(self) -> str:
        tried = []
        for host in self.controllers:
            address = self.address(host)
            closed = [port for port in PORTS if not opens(address, port)]
            if not closed:
                self.controller, self.at = host, address
                return f"{host} answers at {', '.join(map(str, PORTS))}"
            tried.append(f"{host}: no answer at {', '.join(f'{port} ({PORTS[port]})' for port in closed)}")
        hint = "look whether they run, and whether a firewall is in between"
        raise Trouble("no-controller", f"no controller of {self.realm} answers", "; ".join(tried), hint)

    def is_called(self) -> str:
        """A wrong NetBIOS name would look like a wrong password. [MS-ADTS] 6.3.3, LDAP ping"""
        from samba.dcerpc import nbt
        from samba.net import Net

        flags = nbt.NBT_SERVER_LDAP | nbt.NBT_SERVER_DS
        try:
            told = Net(credentials(self, None), lp=settings(self)).finddc(
                domain=self.realm.lower(), address=self.at, flags=flags
            )
        except RuntimeError as error:  # UDP may be closed; what follows needs it not
            return f"not told: {error.args[-1]}"
        if str(told.domain_name).upper() != self.workgroup.upper():
            words = f"the NetBIOS name of {self.realm} is {told.domain_name}, and not {self.workgroup}"
            hint = f"write workgroup: {told.domain_name} at the domain"
            raise Trouble("workgroup", words, f"LDAP ping of {self.controller}", hint)
        return str(told.domain_name)

    def agrees_on_time(self) -> str:
        offset = self._offset()
        if abs(offset) >= SKEW and self.follows:
            clock.correct()
            offset = self._offset()
        if abs(offset) >= SKEW:
            side = "behind" if offset > 0 else "ahead of"
            words = f"the clock here is {abs(offset):.0f} s {side} that of {self.controller}"
            hint = "write time: controllers at the domain, or set up time synchronisation by hand"
            if self.follows:
                hint = "time synchronisation has not set it: smbplan domain check says whom the clock follows"
            hint = f"Kerberos allows 300 s: {hint}"
            raise Trouble("clock", words, "currentTime of its root DSE", hint)
        return f"{offset:+.0f} s"

    def _offset(self) -> float:
        """Seconds that the controller is ahead of this host."""
        (root,) = self._search(self._connect(None), "", "base", "(objectClass=*)", ["currentTime"])
        theirs = calendar.timegm(time.strptime(str(root["currentTime"][0])[:14], "%Y%m%d%H%M%S"))
        return theirs - time.time()

    def logs_in(self) -> str:
        user = self.login["user"]
        try:
            smb_session(self)
        except Exception as error:  # NTSTATUSError has no common importable base
            code = error.args[0] & 0xFFFFFFFF if error.args and isinstance(error.args[0], int) else 0
            tried = f"SMB session with {self.controller}: {error.args[-1] if error.args else error}"
            if code not in REFUSALS:
                raise Trouble("login", f"{user} can't log in", tried, "try the same with smbclient by hand") from None
            name, words, hint = REFUSALS[code]
            raise Trouble(name, words.format(user=user, realm=self.realm), tried, hint) from None
        return f"{user} logs in"

    def has_unit(self) -> str:
        if not self.ou:
            return "the domain's own place for computers"
        if not self._found(self.place(), "(objectClass=*)"):
            hint = "create it, or correct ou:, which is written from the inside out"
            raise Trouble("no-unit", f"there is no {self.ou} in {self.realm}", self.place(), hint)
        return self.ou

    def has_name_free(self) -> str:
        found = self.account(["description"])
        if found is None:
            return f"{self.name} is free"
        if not (self.own or unseal(text(found, "description"), f"{self.name}$".lower())):
            hint = "write another netbios_name: at the gateway; or delete the account, if its machine is gone"
            raise Trouble("name-taken", f"{self.realm} has a computer {self.name} already", str(found.dn), hint)
        return f"{self.name} is ours"

    def has_aliases_free(self) -> str:
        """A second computer of one name would leave clients without tickets for both."""
        for alias in self.aliases:
            wanted = "".join(f"({where}={each}{alias})" for where, services in NAMED.items() for each in services)
            others = f"(&(|{wanted}(dNSHostName={alias}))(!(sAMAccountName={self.name}$)))"
            found = self._search(self.directory(), self._base(), "sub", others, ["cn"])
            if found:
                hint = (
                    f"write another name at aliases:, or take it off that account (samba-tool spn delete HOST/{alias})"
                )
                raise Trouble("alias-taken", f"{alias} is another account's name", str(found[0].dn), hint)
        return f"{', '.join(self.aliases)}: free, or ours" if self.aliases else "none"

    def may_join(self) -> str:
        if self.account(["cn"]) is not None:
            return "its account is there"
        attribute, quota = "allowedChildClassesEffective", "ms-DS-MachineAccountQuota"
        (place,) = self._search(self.directory(), self.place(), "base", "(objectClass=*)", [attribute])
        (top,) = self._search(self.directory(), self._base(), "base", "(objectClass=*)", [quota])
        if "computer" not in map(str, place.get(attribute, ())) and not int(text(top, quota) or 0):
            words = f"{self.login['user']} may not create computers in {self.place()}"
            hint = "delegate the creation of computer objects there to it (dsa.msc, or samba-tool dsacl set)"
            raise Trouble("no-right", words, f"{attribute} of that place, and {quota} of the domain", hint)
        return f"{self.login['user']} may create computers there"

    def address(self, host: str) -> str:
        """By the domain's name servers: this host's own may not be these yet."""
        answers = (dns.query(server, host, "A") for server in self.nameservers)
        return next((found[0] for found in answers if found), host)

    def directory(self) -> Any:
        """The directory, as the account that joins. Raises Trouble."""
        self._directory = self._directory or self._connect(self.login)
        return self._directory

    def account(self, attributes: list[str]) -> Any:
        """The computer's entry in the directory, or None."""
        found = self._search(self.directory(), self._base(), "sub", f"(sAMAccountName={self.name}$)", attributes)
        return found[0] if found else None

    def describe(self, words: str) -> None:
        """What tells that the account is ours."""
        import ldb

        entry = self.account(["cn"])
        if entry is None:
            raise Refused(f"{self.name} has joined {self.realm}, and has no account there")
        change = ldb.Message(entry.dn)
        change["description"] = ldb.MessageElement(words, ldb.FLAG_MOD_REPLACE, "description")
        self.directory().modify(change)

    def give_names(self, aliases: list[str], gone: list[str]) -> None:
        """Service principals of its account. Raises Refused and Trouble."""
        import ldb

        self.has_aliases_free()
        entry = self.account(list(NAMED))
        if entry is None:
            raise Refused(f"{self.name} has joined {self.realm}, and has no account there")
        for attribute, services in NAMED.items():
            known = {str(value).lower(): str(value) for value in entry.get(attribute, ())}
            new = [value for alias in aliases if (value := f"{services[0]}{alias}").lower() not in known]
            lost = [known[word] for alias in gone for each in services if (word := f"{each}{alias}".lower()) in known]
            for flag, values in ((ldb.FLAG_MOD_ADD, new), (ldb.FLAG_MOD_DELETE, lost)):
                if values:
                    change = ldb.Message(entry.dn)
                    change[attribute] = ldb.MessageElement(values, flag, attribute)
                    self.directory().modify(change)

    def remove(self) -> None:
        """Its account, if there is one. Raises Trouble."""
        entry = self.account(["cn"])
        if entry is None:
            return
        try:
            self.directory().delete(entry.dn)
        except Exception as error:
            words = f"{self.login['user']} may not delete {entry.dn}"
            hint = "delegate the deletion of computer objects there to it, or delete that one by hand"
            raise Trouble("no-right", words, str(error), hint) from None

    def place(self) -> str:
        """The distinguished name of where computers are made; the domain's own place depends on redircmp."""
        if self.ou:
            return f"{self.ou},{self._base()}"
        (top,) = self._search(self.directory(), self._base(), "base", "(objectClass=*)", ["wellKnownObjects"])
        known = [str(value).rsplit(":", 1) for value in top.get("wellKnownObjects", ())]
        return next((name for kind, name in known if COMPUTERS in kind), f"CN=Computers,{self._base()}")

    def _base(self) -> str:
        return ",".join(f"DC={part}" for part in self.realm.lower().split("."))

    def _found(self, base: str, expression: str) -> bool:
        try:
            return bool(self._search(self.directory(), base, "base", expression, ["objectClass"]))
        except Exception as error:
            if "No such" in str(error) or "NO_SUCH_OBJECT" in str(error).upper().replace(" ", "_"):
                return False
            raise

    def _connect(self, login: dict[str, Any] | None) -> Any:
        from samba import Ldb

        try:
            return Ldb(url=f"ldap://{self.at}", lp=settings(self), credentials=credentials(self, login))
        except Exception as error:
            if "without authentication" in str(error):  # libldb alone knows no logins
                hint = "smbplan apply installs it, or apt-get install samba-dsdb-modules"
                raise Trouble(
                    "no-samba", "Samba's part for the directory is not installed yet", str(error), hint
                ) from None
            words = f"the directory on {self.controller} can't be read"
            raise Trouble("ldap", words, f"LDAP: {error}", "look at the log of the controller") from None

    @staticmethod
    def _search(directory: Any, base: str, scope: str, expression: str, attributes: list[str]) -> list[Any]:
        import ldb

        found = directory.search(
            base, {"base": ldb.SCOPE_BASE, "sub": ldb.SCOPE_SUBTREE}[scope], expression, attributes
        )
        return [entry for entry in found if entry.dn is not None]


def text(entry: Any, attribute: str) -> str:
    """The first value of an attribute; "" for none."""
    return str(entry[attribute][0]) if attribute in entry else ""


def settings(domain: Domain) -> Any:
    """For Samba's libraries, whatever this host's smb.conf says."""
    from samba.param import LoadParm

    found = LoadParm()
    found.load(os.devnull)
    for name, value in {"realm": domain.realm, "workgroup": domain.workgroup, "netbios name": domain.name}.items():
        found.set(name, value)
    return found


def credentials(domain: Domain, login: dict[str, Any] | None) -> Any:
    from samba.credentials import DONT_USE_KERBEROS, Credentials

    found = Credentials()
    found.guess(settings(domain))
    found.set_kerberos_state(DONT_USE_KERBEROS)
    if login is None:
        found.set_anonymous()
    else:
        found.set_username(login["user"])
        found.set_domain(domain.workgroup)
        found.set_password(login["password"])
    return found


def smb_session(domain: Domain) -> None:
    """With the controller, as the account that joins. Raises NTSTATUSError."""
    from samba.samba3 import libsmb_samba_internal as libsmb
    from samba.samba3 import param

    found = param.get_context()
    found.load(os.devnull)
    libsmb.Conn(domain.at, "IPC$", found, credentials(domain, domain.login))


def opens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError:
        return False
    return True


def examine(domain: Domain) -> list[dict[str, Any]]:
    """Every check with what it found; those after one that failed are not made."""
    found: list[dict[str, Any]] = []
    for name, call in domain.checks():
        row: dict[str, Any] = {"check": name, "ok": None, "found": "", "code": "", "tried": "", "hint": ""}
        if not found or found[-1]["ok"]:
            try:
                row.update(ok=True, found=call())
            except Trouble as trouble:
                row.update(ok=False, found=trouble.summary, code=trouble.code, tried=trouble.tried, hint=trouble.hint)
            except ImportError:
                hint = "smbplan apply installs it, or apt-get install python3-samba"
                row.update(ok=False, found="Samba is not installed yet", code="no-samba", hint=hint)
            except Exception as error:  # LdbError and its like have no common importable base
                words, hint = f"{domain.controller or 'the domain'} gives no answer to this", "look at its log"
                row.update(ok=False, found=words, code="failed", tried=f"{type(error).__name__}: {error}", hint=hint)
        found.append(row)
    return found
