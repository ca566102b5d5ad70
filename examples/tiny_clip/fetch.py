"""Download the public artwork that the bundled model is trained on.

Needs ``npm`` and a Debian machine's ``apt-get``. Everything lands in one folder, is
unpacked there, and stays out of the repository.

    python fetch.py ART
"""

import argparse
import subprocess
import tarfile
from pathlib import Path

NPM = [
    "@iconify-json/noto@1.2.9",
    "@iconify-json/noto-v1@1.2.5",
    "@iconify-json/fxemoji@1.2.2",
    "@iconify-json/fluent-emoji-flat@1.2.6",
    "@iconify-json/flat-color-icons@1.2.3",
    "@lobehub/fluent-emoji-3d@1.1.0",
    "emojibase-data@17.0.0",
    "emojilib@4.0.3",
]
DEBIAN = ["openclipart-svg", "openclipart-png"]


def npm_folder(package):
    """Name of the folder of an unpacked package: its name without scope and version."""
    return package.rpartition("@")[0].rpartition("/")[2]


def fetch(root):
    root.mkdir(parents=True, exist_ok=True)
    for package in NPM:
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        )
        with tarfile.open(root / packed.stdout.split()[-1]) as archive:
            for member in archive.getmembers():
                member.name = member.name.partition("/")[2]
                if member.name:
                    archive.extract(member, root / npm_folder(package), filter="data")
    subprocess.run(["apt-get", "update"], check=True)
    subprocess.run(["apt-get", "download", *DEBIAN], cwd=root, check=True)
    for archive in root.glob("openclipart-*.deb"):
        subprocess.run(["dpkg", "-x", archive, root / "openclipart"], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("art", type=Path, help="folder to fill")
    fetch(parser.parse_args().art)
