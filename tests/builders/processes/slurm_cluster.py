"""Whether there is a Slurm cluster on which tests may queue jobs."""

import shutil
import subprocess


def missing() -> str | None:
    """Why no jobs can be queued here; None where they can."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return "needs a Slurm cluster: sbatch is not installed"
    try:
        answer = subprocess.run(["sinfo", "-h"], capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "needs a Slurm cluster: its controller does not answer"
    return "needs a Slurm cluster: its controller refuses" if answer.returncode else None
