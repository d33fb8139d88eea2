"""If a rank is lost, all ranks exit within a stated time, and one line names it."""

import json
import socket
from typing import Any

import pytest

from tests.builders.processes.warm_python import run_script

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
import torch
import torch.distributed as dist
from mae_rad.errors import RunError
from mae_rad.training import heartbeat
from mae_rad.training.deepspeed_engine import join_ranks
from mae_rad.training.heartbeat import Heartbeat
from tests.builders.processes.warm_ranks import free_port

heartbeat._QUICK_SECONDS, heartbeat._FAILURE_SECONDS, heartbeat._EXIT_DELAY_SECONDS = 1.5, 4.0, 1.5
WORLD, PATIENCE = 2, 4.0

def exchange():
    dist.all_reduce(torch.ones(1))

def stopped(rank, beat):  # the process, with the list if it is rank 0
    exchange()
    if rank == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    exchange()

def hanging(rank, beat):
    exchange()
    if rank == 1:
        time.sleep(60)
    exchange()

def slow(rank, beat):  # comes to the exchange when the others have given it up
    exchange()
    if rank == 0:
        time.sleep(PATIENCE + 1)
    exchange()

def failing_unseen(rank, beat):  # as on a GPU: the other does not look at what it waits for
    exchange()
    if rank == 1:
        raise RunError("mended in one way")
    time.sleep(60)

def failing_first(rank, beat):
    exchange()
    if rank == 0:
        raise RunError("mended in one way")
    time.sleep(60)

def late(rank, beat):  # rank 0 has something to write when all are done
    exchange()
    if rank == 0:
        time.sleep(3)

def one_rank(scenario, rank, port, log):
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 2)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    os.environ.update(dict(zip(names, map(str, (rank, rank, WORLD, WORLD, "127.0.0.1", port)))))
    ranks = join_ranks(1, PATIENCE)
    began = time.monotonic()
    try:
        with Heartbeat(ranks, PATIENCE) as beat:
            beat.set_step(7)
            scenario(rank, beat)
    except SystemExit as leaving:
        os._exit(leaving.code)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)
    except Exception as error:
        print(f"error: unexpected {type(error).__name__}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

running, results = {}, {}
for scenario in (stopped, hanging, slow, failing_unseen, failing_first, late):
    log, port = f"{sys.argv[1]}/{scenario.__name__}", free_port()
    for rank in range(WORLD):
        pid = os.fork()
        if not pid:
            one_rank(scenario, rank, port, log)
        running[pid] = (scenario.__name__, rank)
pids = {place: pid for pid, place in running.items()}
began = time.monotonic()
while running and time.monotonic() < began + 50:
    pid, status = os.waitpid(-1, os.WNOHANG)
    if pid:
        name, rank = running.pop(pid)
        results.setdefault(name, {})[rank] = [os.waitstatus_to_exitcode(status), time.monotonic() - began]
        if (name, rank) == ("stopped", 1) and pids["stopped", 0] in running:
            os.kill(pids["stopped", 0], signal.SIGKILL)
    time.sleep(0.02)
for pid in running:
    os.kill(pid, signal.SIGKILL)
print(json.dumps({name: [ended.get(rank, [None, 1e9]) for rank in range(WORLD)] for name, ended in results.items()}))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of each scenario the exit codes, the seconds and what was messages; they run at the same time."""
    folder = tmp_path_factory.mktemp("ranks")
    done = run_script(SCRIPT, [str(folder)])
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return {
        name: (
            [code for code, _ in ranks],
            [seconds for _, seconds in ranks],
            [line for line in (folder / name).read_text().splitlines() if line.startswith("error")],
        )
        for name, ranks in results.items()
    }


def _name(rank: int) -> str:
    return f"rank {rank} on {socket.gethostname()}"


def test_a_rank_whose_list_does_not_answer_ends_by_itself(ended: dict[str, Any]) -> None:
    """Rank 0 is stopped: its connections stay, nothing comes back. So does a cut link look from the other side."""
    (_, code), (_, seconds), messages = ended["stopped"]
    assert code == 1
    assert seconds < 30
    assert [line.split(" at step")[0] for line in messages] == [f"error: {_name(0)} missed its heartbeat"]


def test_a_hanging_rank_with_a_heartbeat_is_named(ended: dict[str, Any]) -> None:
    codes, seconds, messages = ended["hanging"]
    assert codes == [1, 1]
    assert max(seconds) < 30
    assert [line.split(":")[1] for line in messages] == [f" {_name(1)} did not take part in an operation at step 7"]


def test_a_late_rank_is_not_reported_as_lost(ended: dict[str, Any]) -> None:
    codes, seconds, messages = ended["slow"]
    assert codes == [1, 1]
    assert max(seconds) < 30
    assert [line.split(",")[0] for line in messages] == ["error: all ranks are running"]
    assert "lost an operation at step 7: a rank exceeded runtime.timeout_seconds (4 s)" in messages[0]


@pytest.mark.parametrize(("name", "codes"), [("failing_unseen", [1, 2]), ("failing_first", [2, 1])])
def test_a_rank_that_fails_alone_ends_the_others_while_they_wait(
    ended: dict[str, Any], name: str, codes: list[int]
) -> None:
    assert ended[name][0] == codes
    assert max(ended[name][1]) < 30
    assert ended[name][2] == ["error: mended in one way"]


def test_ranks_that_are_done_wait_for_the_first(ended: dict[str, Any]) -> None:
    """A queue ends the ranks that are left some time after one has gone."""
    codes, seconds, messages = ended["late"]
    assert codes == [0, 0]
    assert abs(seconds[0] - seconds[1]) < 2
    assert not messages
