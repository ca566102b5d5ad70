"""The computed results, stored on disk."""

import csv
import json
import os
from pathlib import Path

from paper.methods import PROBE_CS
from sktip import __version__


class Results:
    """Rows of OUT/results.csv. Each row is written before the next one is computed."""

    fields = ("dataset", "method", "shots", "seed", "accuracy", "chosen", "seconds")

    def __init__(self, out):
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.file = self.out / "results.csv"
        # A line that an interruption cut off is one to compute again.
        text = self.file.read_bytes() if self.file.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            whole = f"{','.join(self.fields)}\n".encode()
        if whole != text:
            replace(self.file, whole)
        self.rows = list(csv.DictReader(whole.decode().splitlines()))
        for row in self.rows:
            row |= {"shots": int(row["shots"]), "seed": int(row["seed"])}
            row["accuracy"] = float(row["accuracy"])
        self.settings_file = self.out / "settings.json"
        kept = self.settings_file.read_text() if self.settings_file.exists() else "{}"
        self.settings = json.loads(kept)

    def check_settings(self, name, settings):
        """Refuse to mix results of one data set with different settings."""
        settings = {**settings, "sktip": __version__, "linear probe": f"C of {PROBE_CS}"}
        for what, value in self.settings.setdefault(name, settings).items():
            if value != settings.get(what):
                raise ValueError(
                    f"{self.out} has results of {name} with {what} {value!r}, but it is "
                    f"{settings.get(what)!r} now; pass another folder as --out, or the same settings."
                )
        replace(self.settings_file, json.dumps(self.settings, indent=1).encode())

    def missing(self, name, n_shots, seed, methods):
        keys = ("dataset", "shots", "seed")
        done = {
            r["method"] for r in self.rows if tuple(r[k] for k in keys) == (name, n_shots, seed)
        }
        return [method for method in methods if method not in done]

    def add(self, *values):
        row = dict(zip(self.fields, values))
        self.rows.append(row)
        with self.file.open("a", newline="") as file:
            csv.DictWriter(file, self.fields, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())


def replace(file, content):
    """Write a file in one step, so that it is never incomplete."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    os.replace(new, file)
