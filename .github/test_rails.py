"""What stands guard over the code, and is silent where it is set up wrongly: `tox -e lint`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
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
    ],
)
def test_ruff_refuses(source, rule):
    answer = ruff(source)
    assert answer.returncode == 1
    assert f" {rule} " in answer.stdout


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
        ("github-workflows", ".github/workflows/*.yml", 4),
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


def run(module, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, text=True, capture_output=True, check=False, **options,
    )  # fmt: skip
