"""Files that other programs read: the workflow, hooks and citation agree with Makefile and package."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_runs_targets_of_the_makefile() -> None:
    jobs = _yaml(".github/workflows/test.yml")["jobs"]
    commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    targets = set(re.findall(r"^make (\w+)", commands, flags=re.MULTILINE))
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert targets == {"test", "docs"}
    assert targets <= rules
    assert all(
        re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
        for job in jobs.values()
        for step in job["steps"]
        if "uses" in step
    )


def test_the_hooks_refuse_films_shards_tables_and_secrets() -> None:
    hooks = {hook["id"]: hook for hook in _yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]}
    refused = re.compile(hooks["no-patient-data"]["files"])
    assert all(
        refused.search(name) for name in ("a/film.dcm", "train-000000.tar", "index.parquet", "secret.key", "f.j2c")
    )
    assert not any(
        refused.search(name) for name in ("mae_rad/keys.py", "docs/index.md", "docs/learned/hands_comparison.csv")
    )


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = _yaml("CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_packages_of_the_documentation_have_pinned_versions() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {re.split(r"[<>=]", name)[0] for name in extras["docs"]} <= pinned
