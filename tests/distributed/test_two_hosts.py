"""A training on two hosts detects a cut link, and resumes on both hosts and on one."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mae_rad.training.preemption import REQUEUE
from tests.builders.processes.two_hosts import ADDRESSES, NAMES, TwoHosts, missing
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments, environment

pytestmark = [pytest.mark.two_hosts, pytest.mark.slow]
NOTICED = 30
"""runtime.timeout_seconds of the test."""
STEPS = 150


def _losses(run: Path) -> dict[int, float]:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {json.loads(line)["step"]: json.loads(line)["loss"] for line in lines}


def _start(hosts: TwoHosts, words: list[str], port: int) -> "subprocess.Popen[str]":
    own = {name: environment()[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS", "DS_ACCELERATOR")}
    own |= {"GLOO_SOCKET_IFNAME": "eth0"}
    (hosts.folder / "env").write_text("".join(f"{name}={value}\n" for name, value in own.items()))
    own |= {"PDSH_SSH_ARGS": f"{hosts.ssh_options} -2 -a -x -l%u %h", "DS_ENV_FILE": str(hosts.folder / "env")}
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", str(hosts.folder / "hostfile")]
    command += ["--no_ssh_check", "--master_addr", ADDRESSES[0], "--master_port", str(port), "--force_multi"]
    return hosts.start(
        0, [*command, "launch/pretrain.py", *words], own,
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_cut_link_is_detected_and_the_run_resumes_on_both_hosts_and_on_one(tmp_path: Path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    public = write_public(tmp_path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(16)])
    run = tmp_path / "run"
    words = arguments(public, run, STEPS, f"runtime.timeout_seconds={NOTICED}")
    (tmp_path / "hosts").mkdir()
    with TwoHosts(tmp_path / "hosts") as hosts:
        first = _start(hosts, words, 29611)
        until = time.monotonic() + 300
        while len(_losses(run)) < 20 and first.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert len(_losses(run)) >= 20, first.communicate()[0]
        hosts.cable(plugged=False)
        cut = time.monotonic()
        output = first.communicate(timeout=300)[0]
        taken = time.monotonic() - cut
        print(f"cut link: the whole job had ended after {taken:.1f} s with runtime.timeout_seconds={NOTICED}")
        assert first.returncode != 0
        assert f"rank 1 on {NAMES[1]} missed its heartbeat" in output, output
        assert taken < NOTICED + 40  # some ten of them are the launcher's, which a busy machine makes more
        while any("launch/pretrain.py" in command for command in hosts.commands(1)):
            assert time.monotonic() - cut < NOTICED + 60, "the other host has not noticed it"
            time.sleep(0.5)
        print(f"cut link: the host on the other side had ended after {time.monotonic() - cut:.1f} s")
        stopped = len(_losses(run))
        assert stopped < STEPS

        hosts.cable(plugged=True)
        both = _start(hosts, [*words, "runtime.max_minutes=0.03"], 29612)
        output = both.communicate(timeout=300)[0]
        assert f"exit code {REQUEUE}" in output, output
        assert len(_losses(run)) < STEPS

    command = [sys.executable, "launch/pretrain.py"]
    one = subprocess.run(
        [*command, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert one.returncode == 0, one.stderr
    whole = arguments(public, tmp_path / "whole", STEPS)
    subprocess.run([*command, *whole], cwd=ROOT, env=environment(), capture_output=True, timeout=300, check=True)
    expected = _losses(tmp_path / "whole")
    assert _losses(run) == pytest.approx(expected, rel=1e-4)
    assert list(_losses(run)) == list(range(1, STEPS + 1))
