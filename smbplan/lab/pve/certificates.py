"""The cluster's own certificate authority and a certificate per node, where real nodes have them."""

import subprocess
from pathlib import Path

from smbplan.lab.pve import files
from smbplan.lab.pve.site import Site

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", "req", "-x509", *_KEY, "-days", "3650", *arguments], check=True, capture_output=True)


def ensure(site: Site, address: str = "") -> tuple[Path, Path]:
    """Certificate and key of the node, made if they are not there (put your own there before)."""
    certificate = site.certificate(site.node)
    key = certificate.with_suffix(".key")
    if certificate.exists() and key.exists():
        return certificate, key
    with files.file_lock(site.root / ".locks" / "certificates", 60):
        authority, secret = site.root / "pve-root-ca.pem", site.root / "priv" / "pve-root-ca.key"
        secret.parent.mkdir(parents=True, exist_ok=True)
        if not authority.exists():
            subject = ("-subj", "/CN=Proxmox Virtual Environment/OU=lab/O=PVE Cluster Manager CA")
            _openssl(*subject, "-keyout", str(secret), "-out", str(authority))
        certificate.parent.mkdir(parents=True, exist_ok=True)
        names = {f"DNS:{site.node}", "DNS:localhost", "IP:127.0.0.1", f"IP:{address or site.address(site.node)[0]}"}
        extensions = ("-addext", f"subjectAltName={','.join(sorted(names))}", "-addext", "basicConstraints=CA:FALSE")
        signed = ("-CA", str(authority), "-CAkey", str(secret), "-subj", f"/O=PVE Cluster Node/CN={site.node}")
        _openssl(*signed, *extensions, "-keyout", str(key), "-out", str(certificate))
        key.chmod(0o600)
    return certificate, key
