"""Several hosts on one machine: a network namespace each, on a network that no other program can see.

`isolated` gives a program a world of its own: its own processes, its own network, nothing else in it. There it may
make hosts. When the program ends, however it ends, the kernel takes the whole world down: the hosts, their links and
every process on them; the machine's own interfaces, addresses and firewall rules (those of Docker, say) play no part.

    isolated()                               # in main(), before anything else; root is needed
    with Hosts() as hosts:
        meadow = hosts.add("meadow-1")
        Process.start("agent", [...], log=..., place=meadow.place)
        meadow.unplug()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from fleet.process import FleetError, Place

NETWORK = "10.98.0"
DRIVER = f"{NETWORK}.254"
"""The address of the program that made the hosts; it is on their network."""

_INSIDE = "FLEET_HOSTS_INSIDE"
_MOST = 200
_NAMESPACES = Path("/run/netns")
_NEEDED = {
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}


def missing() -> str:
    """Say why this machine cannot have hosts; empty if it can."""
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    absent = " ".join(sorted({package for program, package in _NEEDED.items() if shutil.which(program) is None}))
    if absent:
        return f"not installed: {absent}; as root: apt-get install {absent}"
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"this machine does not allow namespaces: {done.stderr.strip()}" if done.returncode else ""


def isolated(module: str) -> None:
    """Begin this program (`python -m module` and its arguments) anew in a world of its own; returns inside it only.

    FleetError if the machine cannot do it.
    """
    if os.environ.get(_INSIDE) is None:
        why = missing()
        if why:
            raise FleetError(why)
        _NAMESPACES.mkdir(parents=True, exist_ok=True)
        sys.exit(_live_beside([sys.executable, "-m", module, *sys.argv[1:]]))
    elif os.getpid() == 1:
        _init()
    # the child of `_init` goes on


def _live_beside(command: Sequence[str]) -> int:
    """Run a command in new namespaces; the end of either of us is the end of them."""
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inside = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, *command], env={**os.environ, _INSIDE: "1"}
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells those inside too, and they end in order
    signal.signal(signal.SIGTERM, lambda *_: inside.kill())
    code = inside.wait()
    return code if code >= 0 else 128 - code


def _init() -> None:
    """Fork the program, and be the parent of all orphans; when the program has ended, end everything with its code."""
    _run("mount", "-t", "tmpfs", "hosts", str(_NAMESPACES))
    _run("ip", "link", "set", "lo", "up")
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child hears it too, and ends in order
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        with suppress(InterruptedError):
            pid, status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


class Hosts:
    """The network, and the hosts on it. Only within `isolated`."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        if os.environ.get(_INSIDE) is None:
            raise FleetError("hosts are made inside `isolated` only, so that nothing of them can be left behind")
        _run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        _run("ip", "link", "set", "br0", "up")
        _run("ip", "address", "add", f"{DRIVER}/24", "dev", "br0")
        return self

    def __exit__(self, *exc_info: object) -> None:
        for host in self._hosts.values():
            host.power_off()
            host.remove()
        _run("ip", "link", "delete", "br0")

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def add(self, name: str) -> Host:
        """Make a host; its name is at most eleven characters long."""
        number = len(self._hosts) + 1
        if number > _MOST:
            raise FleetError(f"at most {_MOST} hosts")
        self._hosts[name] = Host(name, f"{NETWORK}.{number}")
        return self._hosts[name]


class Host:
    """One host. What its faults do to packets, they do silently: no program on it is told."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._port = f"to-{name}"  # a network interface's name has at most fifteen characters
        self._uts = _NAMESPACES / f"{name}.uts"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", self._port, "master", "br0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        self._uts.touch()
        _run("unshare", f"--uts={self._uts}", "hostname", name)
        self._inode = (_NAMESPACES / name).stat().st_ino
        self.place = Place(address, ("nsenter", f"--net={_NAMESPACES / name}", f"--uts={self._uts}"))

    def run(self, *words: str) -> str:
        """Run a command on this host and return what it prints."""
        return _run(*self.place.prefix, *words)

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────

    def cut(self) -> None:
        """Lose all its packets from now on; the host itself sees nothing of it."""
        _run("ip", "link", "set", self._port, "nomaster")

    def unplug(self) -> None:
        """Take its carrier away, as with a pulled cable."""
        _run("ip", "link", "set", self._port, "down")

    def block(self, address: str, port: int | None = None, protocol: str = "tcp") -> None:
        """Lose all packets between this host and another, or between this host and one port of the other."""
        there = ["-p", protocol, "--dport", str(port)] if port else []
        back = ["-p", protocol, "--sport", str(port)] if port else []
        self.run("iptables", "-w", "-A", "OUTPUT", "-d", address, *there, "-j", "DROP")
        self.run("iptables", "-w", "-A", "INPUT", "-s", address, *back, "-j", "DROP")

    def block_port(self, port: int) -> None:
        """Lose all packets of a port, on this side and on the other side, in both directions, TCP and UDP."""
        for protocol in ("tcp", "udp"):
            for which in ("--dport", "--sport"):
                rule = ("-p", protocol, which, str(port), "-j", "DROP")
                self.run("iptables", "-w", "-A", "INPUT", "-i", "eth0", *rule)
                self.run("iptables", "-w", "-A", "OUTPUT", "-o", "eth0", *rule)

    def lose(self, share: float) -> None:
        """Lose this share (0 to 1) of the packets that reach it."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", f"{share:.4f}"]
        self.run("iptables", "-w", "-A", "INPUT", "-i", "eth0", *chance, "-j", "DROP")

    def heal(self) -> None:
        """Undo all of this."""
        _run("ip", "link", "set", self._port, "master", "br0", "up")
        self.run("iptables", "-w", "-F")

    # ── its processes ────────────────────────────────────────────────────────────────────────────────────────────

    def pids(self) -> list[int]:
        """Return the processes on this host, without zombies."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "ns/net").stat().st_ino == self._inode and not _is_zombie(entry):
                        found.append(int(entry.name))
        return found

    def power_off(self) -> None:
        """End every process at once. Cut the host before, or the kernel says goodbye for them."""
        while pids := self.pids():
            self.signal(signal.SIGSTOP, pids)
            self.signal(signal.SIGKILL, pids)

    def freeze(self) -> None:
        """Stop every process, as a paused virtual machine does."""
        self.signal(signal.SIGSTOP, self.pids())

    def thaw(self) -> None:
        self.signal(signal.SIGCONT, self.pids())

    @staticmethod
    def signal(number: signal.Signals, pids: Sequence[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        """Delete it; the links go with it."""
        _run("umount", str(self._uts))
        _run("ip", "netns", "delete", self.name)


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise FleetError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
