"""Scripts in processes forked from one that has imported torch, DeepSpeed and MLflow: a script starts in no time.

The process that forks has computed nothing, so a script may start ranks of its own with ``warm_ranks``.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.builders.tiny_run import ROOT, environment

RANKS = """
import json, os, sys
from pathlib import Path
from tests.builders.processes.warm_ranks import WarmRanks
command, world, log, *words = sys.argv[1:]
main = __import__(f"launch.{command}", fromlist=["main"]).main
{before}
print(json.dumps(WarmRanks(words, int(world), Path(log), main).wait(180)))
"""


@cache
def _server() -> "subprocess.Popen[str]":
    """Ends with this process, whose end closes its input."""
    command = [sys.executable, "-m", "tests.builders.processes.warm_python"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True)


def run_script(script: str, words: Sequence[str], seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script as ``python -c`` would in the root of the project, and end it after ``seconds``.

    Args:
        script: Python; it must not rely on an import being its first.
        words: ``sys.argv[1:]``.
        seconds: after which it and its processes are killed; its exit code is then -9.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {"script": script, "words": [*map(str, words)], "folder": folder, "seconds": seconds}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the process that forks has ended: see its error above"
        code = int(answer)
        said = [(Path(folder) / name).read_text() for name in ("out", "err")]
    return subprocess.CompletedProcess(words, code, *said)


def run_ranks(
    command: str, words: Sequence[str], world: int, log: Path, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``launch/COMMAND.py`` on ``world`` ranks to the end; what they write to either stream is ``stderr``.

    The exit code is 0 if that of all ranks is; nobody ends a rank but the ranks themselves.

    Args:
        command: ``pretrain`` or ``finetune``.
        words: its arguments.
        world: number of ranks.
        log: new file for what they write.
        before: Python that every rank has run before the command, as to spoil something.
    """
    done = run_script(RANKS.replace("{before}", before), [command, str(world), str(log), *words])
    said = done.stderr + (log.read_text() if log.exists() else "")
    codes = json.loads(done.stdout) if done.returncode == 0 else [done.returncode]
    return subprocess.CompletedProcess(words, next((code for code in codes if code), 0), done.stdout, said)


def _serve() -> None:
    import mae_rad.finetuning.run
    import mae_rad.pretraining.run
    import mae_rad.training.loop  # noqa: F401
    from tests.builders.empty_store import copy_instead_of_migrating

    copy_instead_of_migrating()
    with tempfile.TemporaryDirectory() as folder:  # the first store, of which all others are copies
        from mlflow.tracking import MlflowClient

        MlflowClient(f"sqlite:///{folder}/mlflow.db")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _child(request)
        print(_ended(pid, request["seconds"]), flush=True)


def _ended(pid: int, seconds: float) -> int:
    until, code = time.monotonic() + seconds, None
    while code is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > until:
            os.killpg(pid, signal.SIGKILL)
        else:
            time.sleep(0.01)
    return code


def _child(request: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(Path(request["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
        sys.argv = ["-c", *request["words"]]
        exec(compile(request["script"], "<script>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
