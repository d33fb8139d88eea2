"""Two hosts on one machine: network namespaces joined by a cable, each with its own address, name and sshd.

Needs root, ``ip``, ``sshd`` and ``pdsh``. Nothing outside the namespaces is changed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("filma", "filmb")
ADDRESSES = ("10.78.0.1", "10.78.0.2")


def missing() -> str | None:
    """Why there can be no two hosts here; None where there can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in ("ip", "sshd", "ssh-keygen", "pdsh", "nsenter", "unshare") if not _found(name)]
    if absent:
        return f"needs {', '.join(absent)}"
    tried = subprocess.run(["ip", "netns", "add", "filmtry"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", "filmtry"], capture_output=True, check=False)
    return "network namespaces are not allowed here" if tried.returncode else None


def _found(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


class TwoHosts:
    """Both hosts, while the context lasts; ``folder`` takes keys and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for name in NAMES:
            _ip("netns", "add", name)
        _ip("link", "add", "eth0", "netns", NAMES[0], "type", "veth", "peer", "name", "eth0", "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ("client", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        (self.folder / "hostfile").write_text("".join(f"{address} slots=1\n" for address in ADDRESSES))
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            self._daemons.append(self._sshd(name, address))
        until = time.monotonic() + 20
        while self.start(0, ["ssh", *self.ssh_options.split(), ADDRESSES[1], "true"], {}).wait():
            assert time.monotonic() < until, "sshd does not answer"
            time.sleep(0.2)
        return self

    def __exit__(self, _: type | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for name in NAMES:
            for pid in _ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", name)
        for daemon in self._daemons:
            daemon.wait()

    @property
    def ssh_options(self) -> str:
        """A dead host is noticed after some seconds, as a cluster's ssh should be set."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
        options += ("ConnectTimeout=5", "ServerAliveInterval=3", "ServerAliveCountMax=2")
        return " ".join([f"-i {self.folder / 'client'}", *(f"-o {option}" for option in options)])

    def start(
        self, host: int, command: Sequence[str], environment: dict[str, str], **more: Any
    ) -> "subprocess.Popen[Any]":
        """Run ``command`` on a host."""
        inside = ["nsenter", "-t", str(self._daemons[host].pid), "-n", "-u", "--", *command]
        return subprocess.Popen(inside, env=os.environ | environment, **more)

    def commands(self, host: int) -> list[str]:
        """Command lines of what runs on a host."""
        found = []
        for pid in _ip("netns", "pids", NAMES[host]).split():
            with suppress(OSError):  # it has ended in between
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def cable(self, *, plugged: bool) -> None:
        """Cut or restore the link between the hosts."""
        _ip("-n", NAMES[0], "link", "set", "eth0", "up" if plugged else "down")

    def _sshd(self, name: str, address: str) -> "subprocess.Popen[bytes]":
        config = self.folder / f"{name}.conf"
        config.write_text(
            f"ListenAddress {address}\nHostKey {self.folder / 'host'}\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin prohibit-password\nAuthorizedKeysFile {self.folder / 'client.pub'}\n"
        )
        sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")
        command = f"hostname {name}; exec {sshd} -D -f {config}"
        return subprocess.Popen(["ip", "netns", "exec", name, "unshare", "-u", "sh", "-c", command])


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
