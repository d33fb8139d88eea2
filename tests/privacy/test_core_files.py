"""A command that crashes leaves no core file, in which films, headers and the secret would lie."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_PATTERN = Path("/proc/sys/kernel/core_pattern")
CRASHES = {
    "mae_rad": "import os; from mae_rad.command_line import run; run(os.abort)",
    "data_prep": "import os, data_prep.cli.main as cli; cli.without_secret = os.abort; cli.main(['verify', 'nothing'])",
    "worker": "import os; from data_prep.runtime import process_limits; process_limits.forbid_core_dump(); os.abort()",
}
"""A command, or a process that it starts, as it crashes."""


def _cores_of(code: str, folder: Path) -> list[str]:
    """Files that a crash leaves in its folder where the system is told to write core files of any size."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MAE_RAD_KEY": "0123456789abcdef" * 4},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGABRT, done.stderr
    return [path.name for path in folder.iterdir() if path.name.startswith("core")]


@pytest.fixture(autouse=True)
def cores_are_written(tmp_path: Path) -> None:
    """Skip where core files are not written, or go to another program."""
    if not _PATTERN.exists() or _PATTERN.read_text().startswith(("|", "/")):
        pytest.skip("this system does not write core files beside a process")
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("core files are forbidden here")
    assert _cores_of("import os; os.abort()", tmp_path), "this test sees no core file"
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_leaves_no_core_file(crash: str, tmp_path: Path) -> None:
    assert _cores_of(CRASHES[crash], tmp_path) == []
