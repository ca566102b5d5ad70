"""What stands guard over the code, and is silent where it is set up wrongly: `tox -e lint`."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


#: Code that the package may not have, and the rule of ruff that refuses its last line.
REFUSED = [
    ("import pickle", "TID251"),
    ("from pickle import loads", "TID251"),
    ("import cloudpickle", "TID251"),
    ("import urllib.request", "TID251"),
    ("from http.client import HTTPConnection", "TID251"),
    ("import huggingface_hub", "TID251"),
    ("import subprocess as sp", "TID251"),
    ("from torch.hub import load", "TID251"),
    ("import torch\ntorch.hub.load('a', 'b')", "TID251"),
    ("import torch\ntorch.load('a')", "TID251"),
    ("import torch\ntorch.load('a', weights_only=False)", "TID251"),
    ("import torch\ntorch.manual_seed(0)", "TID251"),
    ("import numpy as np\nnp.load('a', allow_pickle=True)", "TID251"),
    ("import numpy as np\nnp.fromfile('a')", "TID251"),
    ("import numpy as np\nnp.random.seed(0)", "NPY002"),
    ("import joblib\njoblib.load('a')", "TID251"),
    ("from joblib import load", "TID251"),
    ("import skops.io", "TID251"),
    ("import pandas\npandas.read_pickle('a')", "TID251"),
    ("from PIL import Image\nImage.MAX_IMAGE_PIXELS = None", "TID251"),
    ("from PIL import ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = True", "TID251"),
    ("import os\nos.system('ls')", "S605"),
    ("import os\nos.popen('ls')", "S605"),
    ("import os\nos.execv('ls', [])", "S606"),
    ("import os\nos.spawnl(0, 'ls')", "S606"),
    ("import os\nrun = os.posix_spawn", "TID251"),
    ("def f(run):\n    run('ls', shell=True)", "S604"),
    ("eval('1')", "S307"),
    ("exec('1')", "S102"),
    ("from builtins import eval as run", "TID251"),
    ("import yaml\nyaml.load('a')", "S506"),
    ("assert True", "S101"),
    ("import warnings\nwarnings.warn('a')", "TID251"),
]


def test_ruff_refuses():
    answer = ruff("\n".join(source for source, _ in REFUSED) + "\n")
    missed, line = [], 0
    for source, rule in REFUSED:
        line += source.count("\n") + 1
        if not re.search(rf"^sktip/new\.py:{line}:\d+: {rule} ", answer.stdout, re.MULTILINE):
            missed.append((source, rule))
    assert not missed, answer.stdout


def test_ruff_lets_the_ordinary_stand():
    source = """
import re

from safetensors.numpy import load_file

DIGITS = re.compile("[0-9]")
load = load_file
"""
    answer = ruff(f'"""Load."""\n{source}')
    assert answer.returncode == 0, answer.stdout


def ruff(source):
    """What ruff says of a module of the package with this source."""
    options = ["--stdin-filename", "sktip/new.py", "--output-format", "concise"]
    return run("ruff", "check", "-", *options, input=source)


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
