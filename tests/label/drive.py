"""Start `sktip label` and a browser: for the tests of the page, and for its pictures in the guide."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import uvicorn
from PIL import Image

from sktip._label.page import Guard, Page

TOKEN = "t" * 32


def write_photos(folder, n=40, size=48):
    """Write n photos of one colour each, red and blue ones in turns; return the colour of each file."""
    os.makedirs(folder)
    truth = {}
    for number in range(n):
        name = f"{number:03}.png"
        shade = 60 + 190 * (number // 2) // max(n // 2, 1)
        colour = (shade, 0, number) if number % 2 else (number, 0, shade)
        Image.new("RGB", (size, size), colour).save(os.path.join(folder, name))
        truth[name] = "red" if number % 2 else "blue"
    return truth


@contextlib.contextmanager
def started(folder, *options, classes=()):
    """Start the command as users do; yield its process and the address that it prints."""
    command = [sys.executable, "-m", "sktip", "label", str(folder), "--no-browser", "--quiet"]
    command += ["--model", "tiny", *options]
    command += ["--classes", ",".join(classes)] if classes else []
    # Not shown: an error is seen by the address that does not come.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield process, re.search(r"http://127.0.0.1:\d+/#token=\S+", line).group()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Late:
    """Answers after a time that is drawn at random, up to so many seconds."""

    def __init__(self, app, seconds):
        self.app, self.seconds, self.random = app, seconds, random.Random(0)

    async def __call__(self, scope, receive, send):
        if scope["path"].startswith(("/photo", "/api")):
            await asyncio.sleep(self.random.random() ** 2 * self.seconds)
        await self.app(scope, receive, send)


@contextlib.contextmanager
def served(session, delay=0, note=""):
    """Serve the page of a session from a thread of this process; yield its address."""
    page = Page(session, lambda: "model.skops", note)
    config = uvicorn.Config(page.app, host="127.0.0.1", port=0, log_level="warning")
    socket = config.bind_socket()
    socket.listen()
    port = socket.getsockname()[1]
    config.app = Guard(Late(page.app, delay) if delay else page.app, TOKEN, port)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/#token={TOKEN}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def chromium():
    """Start the system's Chromium, else that of Playwright; None where there is neither."""
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=options)
        except Error:
            browser = None
        yield browser
        if browser is not None:
            browser.close()


def shown(page):
    """Wait for the pixels of a photo; return its name."""
    page.locator("#frame[aria-busy=false]").wait_for()
    return page.locator("#picture img").get_attribute("alt")


def answer(page, key_of, n=1):
    """Answer n photos by the keys of their classes."""
    for _ in range(n):
        name = shown(page)
        page.keyboard.press(key_of(name))
        page.wait_for_function(
            "old => document.querySelector('#picture img')?.alt !== old", arg=name
        )


# Drawings, for the pictures

CLASSES = ["face", "person", "animal", "food", "vehicle", "clothing", "building", "flag"]
KEYS = dict(zip(CLASSES, "12345678", strict=True))


def write_drawings(folder, size=300):
    """Write 25 drawings of each class; return the class of each file."""
    from sktip.datasets import load_drawings

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
