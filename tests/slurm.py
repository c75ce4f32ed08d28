"""A SLURM of one node on this machine, from Debian's packages, for one test session."""

import os
import secrets
import shutil
import socket
import subprocess
from contextlib import contextmanager

import clusters

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")

_SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=batch Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Return why there can be no SLURM here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)}: Debian's slurmctld, slurmd, slurm-client, munge"
    return "" if os.geteuid() == 0 else "needs to be root, to start SLURM's daemons"


class Slurm:
    """What one asks of SLURM."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment

    def ask(self, *words):
        """Run one of SLURM's commands and return what it prints."""
        found = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True
        )
        assert found.returncode == 0, (words, found.stderr)
        return found.stdout.strip()

    def state(self, job):
        """Return a job's state, like RUNNING."""
        return self.field(job, "JobState")

    def field(self, job, name):
        """Return one of the fields that SLURM has of a job."""
        found = dict(
            word.split("=", 1)
            for word in self.ask("scontrol", "show", "job", job).split()
            if "=" in word
        )
        return found[name]


@contextmanager
def running(folder):
    """Yield a SLURM whose node takes jobs."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o700)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    settings = folder / "slurm.conf"
    settings.write_text(_SETTINGS.format(host=host, folder=folder, ports=_free_ports(2)))
    with clusters.processes(folder, environment={"SLURM_CONF": str(settings)}) as started:
        started.start(
            "munged", "munged", "--force", "--foreground", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munge.log", f"--seed-file={folder}/seed",
        )  # fmt: skip
        clusters.wait_until((folder / "munge.socket").exists, lambda: started.said("munged"))
        started.start("slurmctld", "slurmctld", "-D", "-f", settings)
        started.start("slurmd", "slurmd", "-D", "-f", settings, "-N", host)
        slurm = Slurm(folder, started.environment)

        def idle():
            try:
                return slurm.ask("sinfo", "-h", "-o", "%T") == "idle"
            except AssertionError:  # it does not answer yet
                return False

        clusters.wait_until(idle, lambda: started.said("slurmctld") + started.said("slurmd"))
        yield slurm


def _free_ports(count):
    """Return ports that nobody listens at: SLURM takes no port 0."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
