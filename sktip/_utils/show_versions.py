"""Versions and devices, for bug reports."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

#: Names on PyPI of the dependencies, required and optional.
PACKAGES = (
    "open_clip_torch", "timm", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow",
    "joblib", "safetensors", "transformers", "ray", "skops", "matplotlib",
)  # fmt: skip


def show_versions() -> None:
    """Print the versions of packages, and the devices, to paste into a bug report.

    Versions are read from the metadata of the installed packages. Only PyTorch is imported, to see
    whether it finds a GPU. If that fails, its error is printed.

    Read more in the :ref:`User Guide <guide_errors>`.

    Examples
    --------
    >>> import sktip
    >>> sktip.show_versions()
    <BLANKLINE>
    System
    ...
    """
    from sktip import __version__

    system = {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "platform": platform.platform(),
    }
    packages = {"sktip": __version__, **{name: _version(name) for name in PACKAGES}}
    for title, entries in (
        ("System", system),
        ("Packages", packages),
        ("Devices and threads", _devices()),
    ):
        print(f"\n{title}")
        for name, value in entries.items():
            print(f"{name:>16}: {value}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    entries = {
        "CPUs": str(os.cpu_count()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    # The report may be about a broken installation of PyTorch.
    try:
        import torch

        entries["torch threads"] = str(torch.get_num_threads())
        entries["CUDA"] = (
            f"{torch.version.cuda}, {torch.cuda.get_device_name()}"
            if torch.cuda.is_available()
            else "not available"
        )
    except Exception as error:
        entries["torch fails"] = repr(error)
    return entries
