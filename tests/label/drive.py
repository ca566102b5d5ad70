"""Start `sktip label` on drawings, and a browser: for the test of the page, and for the picture in the guide."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
from PIL import Image

from sktip.datasets import load_drawings

CLASSES = ["face", "person", "animal", "food", "vehicle", "clothing", "building", "flag"]
KEYS = dict(zip(CLASSES, "12345678", strict=True))


def write_drawings(folder, size=300):
    """Write 25 drawings of each class; return the class of each file."""
    os.makedirs(folder)
    drawings = load_drawings(size=size)
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(drawings.target == name))[:25] for name in CLASSES]
    truth = {}
    for number, row in enumerate(rng.permutation(np.concatenate(rows))):
        drawing = Image.fromarray(drawings.data[row])
        white = Image.new("RGB", drawing.size, "white")
        white.paste(drawing, mask=drawing)
        white.save(os.path.join(folder, f"{number:03}.png"))
        truth[f"{number:03}.png"] = str(drawings.target[row])
    return truth


@contextlib.contextmanager
def started(folder, classes=CLASSES, *options):
    """Start the command as users do; yield its process and the address that it prints."""
    templates = ["--template", "a picture of a {}", "--template", "an icon of a {}"]
    command = [sys.executable, "-m", "sktip", "label", str(folder), "--classes", ",".join(classes)]
    command += ["--model", "tiny", *templates, "--no-browser", "--quiet", *options]
    # Not shown: an error is seen by the address that does not come.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield process, re.search(r"http://127.0.0.1:\d+/\?token=\S+", line).group()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def chromium():
    """Start the system's Chromium, else that of Playwright; None where there is neither."""
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error:
            browser = None
        yield browser
        if browser is not None:
            browser.close()


def answer(page, truth, n, after=lambda: None):
    """Answer n photos rightly, by the keys of their classes."""
    for _ in range(n):
        name = page.locator("img").first.get_attribute("alt")
        page.keyboard.press(KEYS[truth[name]])
        page.wait_for_function("old => document.querySelector('img').alt != old", arg=name)
        after()
