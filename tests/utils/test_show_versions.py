"""What a user pastes into a bug report."""

import builtins
import os
import platform
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import sklearn
import torch

import sktip
from sktip._utils import show_versions as module


@pytest.fixture
def printed(capsys):
    """Print, and return the entries."""

    def entries():
        sktip.show_versions()
        lines = capsys.readouterr().out.splitlines()
        pairs = (line.split(": ", 1) for line in lines if ": " in line)
        return {name.strip(): value for name, value in pairs}

    return entries


def test_names_what_runs_here(printed):
    entries = printed()
    assert entries["sktip"] == sktip.__version__
    assert entries["python"].startswith(platform.python_version())
    assert entries["executable"] == sys.executable
    assert entries["platform"] == platform.platform()
    assert entries["numpy"] == np.__version__
    assert entries["scikit-learn"] == sklearn.__version__
    assert entries["torch"] == version("torch")
    for name in ("open_clip_torch", "torchvision", "scipy", "pillow", "joblib", "safetensors"):
        assert entries[name] == version(name)
    assert entries["torch threads"] == str(torch.get_num_threads())
    assert (entries["CUDA"] == "not available") == (not torch.cuda.is_available())


def test_a_package_that_is_missing(printed, monkeypatch):
    def missing(name):
        raise module.PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    entries = printed()
    assert entries["ray"] == entries["transformers"] == "not installed"


def test_a_gpu_by_name(printed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert printed()["CUDA"] == "12.8, A GPU"


def test_a_torch_that_is_broken(printed, monkeypatch):
    real = builtins.__import__

    def broken(name, *arguments):
        if name == "torch":
            raise OSError("a DLL")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", broken)
    entries = printed()
    assert entries["torch fails"] == "OSError('a DLL')"
    assert entries["CPUs"] == str(os.cpu_count())


def test_naming_the_function_imports_nothing_heavy():
    code = "import sys, sktip; sktip.show_versions; print({'torch', 'sklearn', 'numpy'} & {*sys.modules})"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
