"""Files that publishing needs: changelog, citation, workflows and issue forms agree with the package and each other."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_attn.version import __version__

from .test_matrix import OLDEST

ROOT = Path(__file__).resolve().parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(p for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
CLASSIFIERS = re.findall(r"Python :: (3\.\d+)", PROJECT)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job.get("steps", [])]


def test_the_citation_is_that_of_the_package() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert (citation["cff-version"], citation["type"], str(citation["version"])) == ("1.2.0", "software", __version__)
    assert f'license = "{citation["license"]}"' in PROJECT
    assert f'name = "{citation["authors"][0]["name"]}"' in PROJECT


def test_the_changelog_begins_with_this_version_or_the_next() -> None:
    headings = re.findall(r"^## \[(.+?)\]( - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings
    assert headings[0] == ("Unreleased", "") or headings[0][0] == __version__
    assert all(date for _, date in headings[1:])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_files_in_a_workflow_exist(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    named = re.findall(r"\b(?:tests|docs|scripts|benchmarks)/[\w./-]+", "\n".join(commands))
    assert [name for name in named if not (ROOT / name).exists()] == []
    extras = {extra for found in re.findall(r"\[([a-z,]+)\]", "\n".join(commands)) for extra in found.split(",")}
    assert all(f"\n{extra} = [" in PROJECT for extra in extras)


def test_oldest_and_newest_are_tested() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    versions = {
        name: next(s["with"]["python-version"] for s in jobs[name]["steps"] if "setup-python" in s.get("uses", ""))
        for name in ("oldest", "newest")
    }
    assert versions == {"oldest": CLASSIFIERS[0], "newest": CLASSIFIERS[-1]}
    assert f'requires-python = ">={CLASSIFIERS[0]}"' in PROJECT
    assert f'"ultralytics>={OLDEST},' in PROJECT
    assert any(f"ultralytics=={OLDEST}" in step.get("run", "") for step in jobs["oldest"]["steps"])


def test_only_the_last_job_of_a_release_may_publish_and_without_a_password() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "release.yml")
    publish = workflow["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"
    assert workflow["permissions"] == {"contents": "read"}
    signing = {name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})}
    assert signing == {"attest", "publish"}
    assert not any(
        "run" in step or "checkout" in step["uses"] for name in signing for step in workflow["jobs"][name]["steps"]
    )
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    pattern = workflow[True]["push"]["tags"][0]  # YAML reads the key `on` as true
    assert re.match(pattern.replace(".*", r"\.\d"), __version__)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_keeps_no_token_and_names_the_commits_of_other_peoples_actions(path: Path) -> None:
    """A tag of an action can be moved; those of GitHub itself have the token of the workflow in any case."""
    used = [step for step in steps(path) if "uses" in step]
    checkouts = [step for step in used if step["uses"].startswith("actions/checkout@")]
    assert [step.get("with", {}).get("persist-credentials") for step in checkouts] == [False] * len(checkouts)
    others = [step["uses"] for step in used if not step["uses"].startswith("actions/")]
    assert [name for name in others if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_valid(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"checkboxes", "dropdown", "input", "textarea"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) > 0
    named = re.findall(r"docs/[\w.]+", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []


def test_this_python_is_in_the_range() -> None:
    assert sys.version_info >= tuple(map(int, CLASSIFIERS[0].split(".")))
