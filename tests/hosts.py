"""Several hosts on one machine: network namespaces on a bridge that only they can reach."""

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager


def missing():
    """Return why there can be no hosts here, or nothing."""
    if shutil.which("ip") is None:
        return "needs Debian's iproute2"
    if os.geteuid() != 0:
        return "needs to be root, to make network namespaces"
    probe = f"daskimg-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


class Host:
    """A host of its own address; its cable can be pulled."""

    def __init__(self, number, address, switch):
        self.space = f"daskimg-{os.getpid()}-{number}"
        self.address = address
        self._switch = switch
        self._cable = f"cable{number}"

    @property
    def prefix(self):
        """The words that run a command there."""
        return ("ip", "netns", "exec", self.space)

    def plug(self):
        """Connect it to the switch."""
        own = self.space
        cable = "type", "veth", "peer", "name", "eth0", "netns", own
        _ip("-n", self._switch, "link", "add", self._cable, *cable)
        _ip("-n", self._switch, "link", "set", self._cable, "master", "switch", "up")
        _ip("-n", own, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", own, "link", "set", "eth0", "up")
        _ip("-n", own, "link", "set", "lo", "up")

    def cut(self):
        """Pull its cable: nothing goes in or out, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._cable, "down")


@contextmanager
def several(count):
    """Yield hosts that reach each other and nothing else."""
    switch = f"daskimg-{os.getpid()}-switch"
    with ExitStack() as stack:
        _space(switch, stack)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        hosts = []
        for number in range(count):
            host = Host(number, f"10.77.0.{10 + number}", switch)
            _space(host.space, stack)
            host.plug()
            hosts.append(host)
        yield hosts


def _space(name, stack):
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "del", name)


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)
