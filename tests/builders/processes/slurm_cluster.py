"""A Slurm cluster on which tests may queue jobs, where there is one: its commands, and what the queue says of a job."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from tests.builders.tiny_run import ROOT, environment


def missing() -> str | None:
    """Why no jobs can be queued here; None where they can."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return "needs a Slurm cluster: sbatch is not installed"
    try:
        answer = subprocess.run(["sinfo", "-h"], capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "needs a Slurm cluster: its controller does not answer"
    return "needs a Slurm cluster: its controller refuses" if answer.returncode else None


def slurm(*words: str, **variables: str) -> str:
    """Run a command of Slurm in the folder of the project, with further environment variables; returns its output."""
    own = environment() | {"MAE_RAD_PYTHON": sys.executable, "GLOO_SOCKET_IFNAME": "eth0"} | variables
    done = subprocess.run(words, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(job: str) -> str:
    """Such as RUNNING; empty where the job, or the task of an array as ``JOB_TASK``, has left the queue."""
    return slurm("squeue", "-h", "-j", job, "-o", "%T")


def wait(seconds: float, for_what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < until
        time.sleep(0.5)
