"""`python3 -m smbplan.lab.pve init|serve|commands`: make a cluster's files, serve a node, install its commands."""

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path

from smbplan.lab.pve import auth, certificates, files, usercfg
from smbplan.lab.pve.site import PORT, VERSIONS, open_site

ROOT, LOCAL = Path("/etc/pve"), Path("/var/log/pve")
STORAGE = """dir: local
	path /var/lib/vz
	content backup,import,iso,vztmpl,rootdir,images,snippets
	prune-backups keep-all=1
"""


def initialise(root: Path, nodes: dict[str, str], dialect: str, password: str, name: str = "lab") -> None:
    """What a fresh cluster has below /etc/pve; files that are there stay. `nodes` are names and addresses."""
    members = {node: {"id": n, "online": 1, "ip": ip} for n, (node, ip) in enumerate(nodes.items(), 1)}
    cluster = {"name": name, "version": len(nodes), "nodes": len(nodes), "quorate": 1}
    content = {
        ".members": json.dumps({"cluster": cluster, "nodelist": members}, indent=1) + "\n",
        ".dialect": dialect + "\n",
        "user.cfg": usercfg.render(usercfg.parse("")),
        "storage.cfg": STORAGE,
        "datacenter.cfg": "",
    }
    for file, text in content.items():
        if not (root / file).exists():
            files.write(root / file, text, 0o644)
    for node in nodes:
        for folder in ("lxc", "qemu-server"):
            (root / "nodes" / node / folder).mkdir(parents=True, exist_ok=True)
    (root / "priv" / "lock").mkdir(parents=True, exist_ok=True)
    auth.set_password(root, usercfg.ROOT, password)


def install_commands(folder: Path, code: Path, environment: dict[str, str]) -> None:
    """Put `pct`, `qm` and the like into the folder, which run the code below `code` with the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items()))
    for program in ("pct", "qm", "pvesm", "pveum", "pvesh"):
        path = folder / program
        call = f"exec python3 -S -m smbplan.lab.pve.cli {program}"
        path.write_text(f'#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(code))} {settings}\n{call} "$@"\n')
        path.chmod(0o755)


def main(argv: list[str]) -> int:
    """Run a command; serve ends by a signal."""
    parser = argparse.ArgumentParser(prog="python3 -m smbplan.lab.pve")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init")
    init.add_argument("--node", action="append", required=True, metavar="NAME=ADDRESS")
    init.add_argument("--dialect", default="9.1", choices=sorted(VERSIONS))
    init.add_argument("--password", required=True)
    init.add_argument("--cluster", default="lab")
    serve = commands.add_parser("serve")
    serve.add_argument("--local", type=Path, default=LOCAL)
    serve.add_argument("--node", default="")
    serve.add_argument("--address", default="0.0.0.0")
    serve.add_argument("--port", type=int, default=PORT)
    serve.add_argument("--backend", default="containers")
    serve.add_argument("--auth-delay", type=float, default=3.0, help="seconds that a refused login waits")
    install = commands.add_parser("commands", help="install pct, qm, pvesm, pveum, pvesh")
    install.add_argument("--into", type=Path, default=Path("/usr/local/sbin"))
    install.add_argument("--local", type=Path, default=LOCAL)
    install.add_argument("--backend", default="containers")
    for command in (init, serve, install):
        command.add_argument("--root", type=Path, default=ROOT)
    args = parser.parse_args(argv)
    if args.command == "init":
        nodes = dict(pair.split("=", 1) for pair in args.node)
        initialise(args.root, nodes, args.dialect, args.password, args.cluster)
        return 0
    if args.command == "commands":
        places = {"PVE_ROOT": str(args.root), "PVE_LOCAL": str(args.local), "PVE_BACKEND": args.backend}
        install_commands(args.into, Path(__file__).parents[3], places)
        return 0
    return _serve(args)


def _serve(args: argparse.Namespace) -> int:
    import threading

    from smbplan.lab.pve import lockdirs, server

    site = open_site(args.root, args.local, args.node, args.backend, args.auth_delay)
    certificate, key = certificates.ensure(site)
    running = server.serve(site, (args.address, args.port), certificate, key)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    threading.Thread(target=lockdirs.LockDirs(args.root).run, daemon=True).start()
    print(f"{site.node}: https://{args.address}:{running.server_port}", flush=True)
    running.serve_forever(poll_interval=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
