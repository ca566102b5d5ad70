"""Files that are silent where they are wrong: workflows, forms and pins. `tox -e lint`."""

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("schema", "pattern", "n_files"),
    [
        ("github-workflows", ".github/workflows/*.yml", 5),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml", 3),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml", 1),
        ("dependabot", ".github/dependabot.yml", 1),
        ("citation-file-format", "CITATION.cff", 1),
    ],
)
def test_files_match_their_schema(schema, pattern, n_files):
    files = list(ROOT.glob(pattern))
    assert len(files) >= n_files
    answer = run("check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    assert answer.returncode == 0, answer.stdout


def test_oldest_pins_every_lower_bound():
    """Of the dependencies, and of the extras that its tests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    bounds = project["dependencies"].copy()
    for extra in [*tox["testenv:tests"]["extras"].split(","), "ray"]:
        bounds += project["optional-dependencies"][extra.strip()]
    pins = tox["testenv:oldest"]["deps"].replace("==", ">=").split()
    # The first version with wheels for this Python may be a patch release.
    unpinned = [
        bound
        for bound in bounds
        if ">=" in bound
        and not any(f"{pin}.".startswith(f"{bound.replace('[data]', '')}.") for pin in pins)
    ]
    assert not unpinned


def run(module, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, text=True, capture_output=True, check=False, **options,
    )  # fmt: skip
