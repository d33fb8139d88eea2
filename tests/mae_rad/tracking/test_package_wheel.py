"""The wheel that travels with a registered model."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from mae_rad.tracking.package_wheel import write_wheel


def test_the_wheel_installs_and_runs_without_the_checkout(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    assert wheel.name == f"mae_rad-{version('mae_rad')}-py3-none-any.whl"
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, env=environment, cwd=tmp_path)
    code = "import mae_rad, data_prep, sys; print(mae_rad.__file__); print(data_prep.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": str(target)}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(Path(line).is_relative_to(target) for line in done.stdout.split())
    assert (target / "mae_rad" / "prediction" / "concepts.csv").is_file()
    assert not list((target / "mae_rad").rglob("*.yaml"))  # configs of a checkout may be those of a user


def test_the_same_code_gives_the_same_bytes_and_no_path_of_this_machine(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (write_wheel(folder).read_bytes() for folder in folders)
    assert first == second
    with zipfile.ZipFile(folders[0] / f"mae_rad-{version('mae_rad')}-py3-none-any.whl") as archive:
        names = archive.namelist()
        assert not [name for name in names if "__pycache__" in name or name.startswith("/")]
        assert not [name for name in names if str(Path.cwd()).encode() in archive.read(name)]
