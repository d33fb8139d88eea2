import getpass
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_prep.runtime.folder_lock import locked
from mae_rad.errors import RunError
from mae_rad.tracking import Tracker, chosen_experiment, chosen_store, default_uri, open_command, public_values
from mae_rad.tracking import mlflow_run as module


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A new store; making one takes seconds, so it is made once and copied: it holds no path."""
    folder = tmp_path_factory.mktemp("store")
    Tracker.start(default_uri(folder), "pretrain", "first").finish()
    return folder


@pytest.fixture
def store(tmp_path, empty_store):
    shutil.copytree(empty_store, tmp_path / "runs")
    return tmp_path / "runs"


def rows(store, query, *values):
    connection = sqlite3.connect(store / "mlflow.db")
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def start(store, name="mae", **more):
    return Tracker.start(default_uri(store), "pretrain", name, **more)


def test_a_store_that_another_run_is_making_is_waited_for(store):
    made = []
    thread = threading.Thread(target=lambda: made.append(start(store)))
    with locked(store):
        thread.start()
        time.sleep(0.3)
        assert not made
    thread.join(timeout=30)
    made.pop().finish()


def test_metrics_params_tags_and_files_arrive(store, tmp_path):
    (tmp_path / "sheet.png").write_bytes(b"picture")
    tracker = start(
        store, params={"optimizer": {"steps": 5, "betas": (0.9, 0.95)}, "seed": 0}, tags={"objective": "mae"}
    )
    for step in range(3):
        tracker.metrics({"train/loss": 1.0 / (step + 1), "lr": 0.1}, step)
    tracker.picture(tmp_path / "sheet.png", "samples")
    tracker.file(tmp_path / "sheet.png", "")
    tracker.finish()
    assert rows(store, "select step, value from metrics where key = 'train/loss' order by step") == [
        (0, 1.0), (1, 0.5), (2, 1.0 / 3),
    ]  # fmt: skip
    params = dict(rows(store, "select key, value from params where run_uuid = ?", tracker.run_id))
    assert params == {"optimizer.steps": "5", "optimizer.betas": "[0.9, 0.95]", "seed": "0"}
    assert rows(store, "select status from runs where run_uuid = ?", tracker.run_id) == [("FINISHED",)]
    folder = store / "mlartifacts" / "1" / tracker.run_id / "artifacts"
    assert (folder / "samples" / "sheet.png").read_bytes() == (folder / "sheet.png").read_bytes() == b"picture"


def test_mlflow_itself_lists_the_artifacts(store, tmp_path):
    """What the client writes by hand is where a server with this artifact folder looks for it."""
    from mlflow.server import handlers
    from mlflow.tracking import MlflowClient

    (tmp_path / "sheet.png").write_bytes(b"picture")
    tracker = start(store)
    tracker.picture(tmp_path / "sheet.png", "samples")
    address = MlflowClient(default_uri(store)).get_run(tracker.run_id).info.artifact_uri
    path = handlers._get_proxied_run_artifact_destination_path(address, "samples/sheet.png")
    assert (store / "mlartifacts" / path).read_bytes() == b"picture"
    assert str(store / "mlartifacts") in open_command(default_uri(store))


def test_a_run_is_taken_up_again(store):
    first = start(store, params={"seed": 0})
    first.metrics({"loss": 1.0}, 0)
    first.finish("KILLED")
    again = start(store, name="ignored", run_id=first.run_id, params={"seed": 1, "workers": 4})
    again.metrics({"loss": 0.5}, 1)
    assert rows(store, "select status from runs where run_uuid = ?", first.run_id) == [("RUNNING",)]
    again.finish()
    assert again.run_id == first.run_id
    assert dict(rows(store, "select key, value from params")) == {"seed": "0", "workers": "4"}
    assert [step for (step,) in rows(store, "select step from metrics order by step")] == [0, 1]


def test_the_store_names_no_person_host_or_path(store, tmp_path):
    secret = tmp_path / "Muster^Maria" / "public"
    (tmp_path / "sheet.png").write_bytes(b"")
    tracker = start(
        store,
        params={"data": {"shards": [str(secret)], "where": {"a": 1}}, "run_dir": secret / "run", "home": "~/films/x"},
        tags={"store": f"postgresql://muster:pw@{socket.gethostname()}/db", "place": str(secret)},
    )
    tracker.metrics({"loss": 1.0}, 0)
    tracker.picture(tmp_path / "sheet.png", "samples")
    tracker.finish()
    connection = sqlite3.connect(store / "mlflow.db")
    dump = "\n".join(line for line in connection.iterdump() if line.startswith("INSERT"))
    connection.close()
    for word in ("Muster", "muster", "pw@", str(tmp_path), str(Path.cwd()), "films", "pytest"):
        assert word not in dump
    values = dict(rows(store, "select key, value from params")) | dict(rows(store, "select key, value from tags"))
    assert set(values) == {"data.shards", "data.where.a", "run_dir", "home", "store", "place", "mlflow.runName"}
    assert values["data.shards"] == "[public]"
    assert {getpass.getuser(), socket.gethostname()}.isdisjoint(values.values())
    assert rows(store, "select distinct user_id from runs") == [("unknown",)]
    assert rows(store, "select distinct source_name from runs") == [("",)]


def test_names_are_made_legal(store):
    tracker = start(store)
    tracker.metrics({"Pleural effusion (left)/linear/mae": 0.5, "/a//../b": 1.0, "é%": 2.0}, 0)
    tracker.finish()
    found = {name for (name,) in rows(store, "select key from metrics where run_uuid = ?", tracker.run_id)}
    assert found == {"Pleural effusion _left_/linear/mae", "a/b", "é_"}


def test_a_failing_store_is_reported_once_and_pending_metrics_arrive_later(store, tmp_path, caplog, monkeypatch):
    tracker = start(store)
    works = tracker._client.log_batch
    monkeypatch.setattr(tracker._client, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("gone")))
    with caplog.at_level(logging.WARNING):
        for step in range(250):
            tracker.metrics({"loss": float(step)}, step)
        tracker.picture(tmp_path / "none.png", "samples")
    assert len(caplog.records) == 1
    assert "OSError" in caplog.text
    monkeypatch.setattr(tracker._client, "log_batch", works)
    tracker.finish()
    assert rows(store, "select count(*) from metrics where run_uuid = ?", tracker.run_id) == [(250,)]
    assert rows(store, "select status from runs where run_uuid = ?", tracker.run_id) == [("FINISHED",)]


def test_a_store_that_does_not_answer_costs_one_attempt_a_minute(store, monkeypatch):
    tracker = start(store)
    attempts = []
    monkeypatch.setattr(tracker._client, "log_batch", lambda *a, **k: attempts.append(1) or 1 / 0)
    clock = iter(range(1000, 2000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    for step in range(100):
        tracker.metrics({"loss": 1.0}, step)
    assert 1 <= len(attempts) <= 3


def test_a_store_that_cannot_be_used_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("")
    for uri in ("http://muster:pw@127.0.0.1:9", f"sqlite:///{tmp_path}/file/mlflow.db"):
        with pytest.raises(RunError, match="MLflow store") as caught:
            Tracker.start(uri, "pretrain", "mae")
        assert "pw" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_is_printed_and_nothing_is_reported_home(tmp_path):
    code = (
        "import sys, time; from mae_rad.tracking import Tracker, default_uri; from pathlib import Path\n"
        "assert not [name for name in sys.modules if name.startswith('mlflow')]\n"
        f"tracker = Tracker.start(default_uri(Path({str(tmp_path)!r})), 'e', 'n', params={{'a': 1}})\n"
        "tracker.metrics({'loss': 1}, 0); tracker.finish()\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "DO_NOT"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_to_open_a_store():
    assert open_command("https://mlflow.example.org/") == "https://mlflow.example.org/"
    assert open_command("https://muster:pw@mlflow.example.org", "#/x") == "https://mlflow.example.org/#/x"
    command = open_command("sqlite:////data/my runs/mlflow.db")
    assert "'sqlite:////data/my runs/mlflow.db'" in command
    assert "--artifacts-destination '/data/my runs/mlartifacts'" in command
    assert command.startswith("MLFLOW_DISABLE_TELEMETRY=true mlflow server")
    assert open_command("sqlite:////data/mlflow.db", "#/x").endswith("then open http://127.0.0.1:5000/#/x")


def test_what_the_settings_leave_open_is_taken_from_mlflows_variables(tmp_path, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert chosen_store(None, tmp_path) == default_uri(tmp_path)
    assert chosen_experiment(None, "mae_rad") == "mae_rad"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "hands")
    assert chosen_store(None, tmp_path) == "http://mlflow.example.org"
    assert chosen_experiment(None, "mae_rad") == "hands"
    assert chosen_store("sqlite:///mine.db", tmp_path) == "sqlite:///mine.db"
    assert chosen_experiment("chests", "mae_rad") == "chests"


def test_the_machine_is_sampled_until_the_run_ends_and_its_samples_are_no_steps_of_the_training(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = start(store)
    tracker.metrics({"loss": 1.0}, 3)
    tracker.watch_system()
    query = "select max(step) from metrics where key = 'system/cpu_utilization_percentage' and run_uuid = ?"
    end = time.monotonic() + 20
    while (rows(store, query, tracker.run_id)[0][0] or 0) <= 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert tracker.last_step() == 3
    tracker.finish()
    ((samples,),) = rows(store, query, tracker.run_id)
    assert samples > 3
    assert not [thread for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]
    keys = {key for (key,) in rows(store, "select distinct key from metrics where run_uuid = ?", tracker.run_id)}
    assert not [key for key in keys if socket.gethostname() in key]


def test_sampling_the_machine_can_be_switched_off(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    tracker = start(store)
    tracker.watch_system()
    assert not [thread for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]
    tracker.finish()


def test_public_values_keep_what_is_not_a_place():
    values = public_values(
        {"a": {"b": 1.5, "c": None}, "names": ["HAND", "/x/y"], "relative": "runs/mae", "win": r"C:\x\y"}
    )
    assert values == {"a.b": "1.5", "a.c": "None", "names": "[HAND, y]", "relative": "runs/mae", "win": "y"}


def test_what_was_deleted_in_mlflow_does_not_swallow_a_training(store, caplog):
    first = start(store)
    first.metrics({"loss": 1.0}, 0)
    first._client.delete_run(first.run_id)
    second = start(store, run_id=first.run_id)
    second.metrics({"loss": 2.0}, 0)
    assert second.run_id != first.run_id
    assert "was deleted in MLflow" in caplog.text
    second._client.delete_experiment(second.experiment)
    third = start(store, run_id=second.run_id)
    third.metrics({"loss": 3.0}, 1)
    third.finish()
    assert "it is restored" in caplog.text
    assert third.experiment == second.experiment
    assert rows(store, "select value from metrics where run_uuid = ?", third.run_id)[-1] == (3.0,)
