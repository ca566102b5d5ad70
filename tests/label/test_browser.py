"""The page in Chromium: what is labelled is what was seen, and the whole task works by keyboard, for everybody."""

import http.server
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

for package in ("playwright", "starlette", "uvicorn"):
    pytest.importorskip(package)

from drive import TOKEN, answer, chromium, served, shown, started, write_photos  # noqa: E402

from sktip._label.labelling import open_session  # noqa: E402

KEY = {"red": "1", "blue": "2"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        if browser is None:
            pytest.skip(
                "there is no Chromium: apt install chromium, or playwright install chromium"
            )
        yield browser


@pytest.fixture
def opened(browser):
    """Open a page at an address; its errors are errors of the test."""
    wrong = []

    def open_page(address, **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert wrong == []


WATCH = """() => {
  // The average colour of the picture in each frame that the browser has drawn, and of that at each key.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  window.log = [];
  let before = null, now = null;
  const look = () => {
    before = now;
    const image = document.querySelector("#picture img");
    if (image && image.complete && image.naturalWidth) {
      canvas.drawImage(image, 0, 0, 1, 1);
      now = [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    } else now = null;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  addEventListener("keydown", (event) => log.push([event.key, before]), true);
}"""


def test_each_label_belongs_to_the_photo_whose_pixels_were_shown(opened, clip, tmp_path):
    """Photos and answers of the server come at random times; keys are pressed at random times."""
    write_photos(tmp_path / "photos", n=40)
    classes = [f"class {i}" for i in range(9)]
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/labels", classes, clip, "{}")
    rng = np.random.default_rng(0)
    with served(session, delay=0.3) as address:
        page = opened(address)
        shown(page)
        page.evaluate(WATCH)
        page.wait_for_timeout(500)  # Two frames, on the busiest machine.
        until = time.monotonic() + 60
        while len(session.answered()) < 12 and time.monotonic() < until:
            keys = [*"123456789", "ArrowLeft", "ArrowRight", "Escape", "u"]
            page.keyboard.press(str(rng.choice(keys, p=[0.09] * 9 + [0.05, 0.05, 0.05, 0.04])))
            page.wait_for_timeout(int(rng.choice([5, 15, 60, 150])))
        page.wait_for_timeout(1500)
        log = page.evaluate("log")
    seen = {(key, tuple(colour)) for key, colour in log if colour}
    labelled = session.store.answers
    assert len(labelled) >= 8
    for path, given in labelled.items():
        colour = np.array(Image.open(path).convert("RGB"))[0, 0].astype(int)
        key = given.labels[0].removeprefix("class ")
        near = [c for k, c in seen if k == str(int(key) + 1) and np.abs(colour - c).max() <= 3]
        assert near, f"{os.path.basename(path)} was labelled {given.labels[0]}, and not seen then"


def test_a_photo_that_does_not_come_is_not_labelled(opened, clip, tmp_path):
    write_photos(tmp_path / "photos", n=4)
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/labels", ["a", "b"], clip, "{}")
    with served(session) as address:
        page = opened("about:blank")
        page.route("**/photo/*/1600", lambda route: None)  # Never answered.
        page.goto(address)
        page.get_by_role("button", name="a", exact=True).wait_for()
        for _ in range(5):
            page.keyboard.press("1")
            page.get_by_role("button", name="a", exact=True).click(force=True)
        page.wait_for_timeout(500)
        assert session.answered() == []


class Other(http.server.BaseHTTPRequestHandler):
    """Another user's server on this machine, which writes down what it is sent."""

    got: list[str] = []

    def do_GET(self):
        """Answer with a page."""
        self.got.append(f"{self.path} {self.headers}")
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>another page</h1>")

    def log_message(self, *_):
        """Say nothing."""


def test_a_page_on_another_port_gets_no_secret(opened, clip, tmp_path):
    write_photos(tmp_path / "photos", n=4)
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/labels", ["a", "b"], clip, "{}")
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with served(session) as address:
        page = opened(address)
        shown(page)
        assert TOKEN not in page.url  # Nor is it in the history.
        page.reload()
        shown(page)
        assert page.context.cookies() == []
        spy = page.context.new_page()
        spy.goto(f"http://127.0.0.1:{other.server_port}/")
        home = address.partition("#")[0]
        read = "url => fetch(url, {credentials: 'include', mode: MODE}).then(a => a.text()).catch(() => 'refused')"
        for path in ("photo/0/320", "api/state"):
            assert spy.evaluate(read.replace("MODE", "'cors'"), home + path) == "refused"
            assert spy.evaluate(read.replace("MODE", "'no-cors'"), home + path) in ("", "refused")
        spy.evaluate("home => { window.w = open(home); }", home)
        spy.wait_for_timeout(500)
        assert (
            spy.evaluate("Object.keys(sessionStorage).length + Object.keys(localStorage).length")
            == 0
        )
    other.shutdown()
    assert Other.got
    assert all(TOKEN not in text and "ookie" not in text for text in Other.got)


def test_names_are_text(opened, clip, tmp_path):
    """Of files and of classes; and nothing is asked of other machines."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (9, 9), (99 * number, 0, 0)).save(
            folder / f"<b onclick=alert({number})>.png"
        )
    classes = ["<img src=x onerror=alert(1)>", "plain"]
    session = open_session(str(folder), f"{tmp_path}/labels", classes, clip, "{}")
    asked = []
    with served(session, note="<i>note</i>") as address:
        page = opened("about:blank")
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        shown(page)
        page.get_by_text("<i>note</i>").wait_for()
        page.get_by_role("button", name="<img src=x onerror=alert(1)>").click()
        page.get_by_text("<img src=x onerror=alert(1)>").first.wait_for()
        for view in ("Sort", "Results", "Label"):
            page.get_by_role("button", name=view, exact=True).click()
            page.wait_for_timeout(300)
        home = address.partition("#")[0]
    assert {url for url in asked if not url.startswith((home, f"blob:{home}"))} == set()


def axe(page):
    """What axe-core finds wrong."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_in_the_way_of_anybody(opened, clip, tmp_path, scheme, width):
    """axe-core in every view and dialog; on a phone nothing is wider than the screen."""
    pytest.importorskip("axe_playwright_python")
    write_photos(tmp_path / "photos", n=30)
    (tmp_path / "photos" / "damaged.png").write_bytes(b"no picture")
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/labels", ["red", "blue"], clip, "{}")
    session.start()
    with served(session, note="A note.") as address:
        # What fades is not measured.
        options = {"color_scheme": scheme, "reduced_motion": "reduce"}
        page = opened(address, viewport={"width": width, "height": 844}, **options)
        answer(page, lambda name: KEY["red" if int(name[:3]) % 2 else "blue"], 12)
        until = time.monotonic() + 60
        while not session.knowledge.doubtful and time.monotonic() < until:
            time.sleep(0.1)
        found = {}

        def look(name):
            page.wait_for_timeout(400)
            found[name] = axe(page)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name} is {wide} pixels too wide"

        look("label")
        page.keyboard.press("ArrowLeft")
        look("walking")
        page.keyboard.press("?")
        look("keys")
        page.keyboard.press("Escape")
        page.keyboard.press("e")
        look("classes")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Sort", exact=True).click()
        page.locator("#sort input[type=checkbox]:enabled").first.wait_for()
        page.keyboard.press("a")
        look("sort")
        page.locator("#sort .thumb").first.click()
        look("enlarged")
        page.keyboard.press("Escape")
        page.get_by_label("Which photos").select_option("damaged")
        look("damaged")
        page.get_by_role("button", name="Results", exact=True).click()
        page.get_by_text("Most doubtful labels").wait_for()
        look("results")
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_by_keyboard_from_no_classes_to_folders(opened, tmp_path):
    """Without a mouse: classes, answers, another name, a mended answer, a search, and what is written.

    The command is killed on the way: answers that were said to be stored are there.
    """
    truth = write_photos(tmp_path / "photos", n=24)
    with started(tmp_path / "photos") as (process, address):
        page = opened(address)
        press = page.keyboard.press
        shown(page)
        page.get_by_text("Type the name of a class").wait_for()
        page.locator("#new:focus").wait_for()
        for name in ("red", "azure"):
            page.keyboard.type(name)
            press("Enter")
            page.locator("#classes button", has_text=name).wait_for()
        page.keyboard.type("RED")  # It is there: the photo is labelled.
        press("Enter")
        page.locator("#bar[aria-label^='1 labelled']").wait_for()
        press("Escape")
        assert page.locator("#classes button").count() == 2
        press("u")
        page.locator("#bar[aria-label^='0 labelled']").wait_for()
        answer(page, lambda name: KEY[truth[name]], 5)
        page.locator("#bar[aria-label^='5 labelled']").wait_for()
        process.send_signal(signal.SIGKILL)
    with started(tmp_path / "photos") as (process, address):
        page = opened(address)
        press = page.keyboard.press
        page.locator("#bar[aria-label^='5 labelled']").wait_for()
        answer(page, lambda name: KEY[truth[name]], 1)
        page.locator("#bar[aria-label^='6 labelled']").wait_for()
        page.locator("#toast").get_by_role("button", name="Undo").focus()
        press("Enter")
        page.locator("#bar[aria-label^='5 labelled']").wait_for()

        press("e")  # Enter gives another name.
        page.get_by_label("Name of azure").focus()
        press("Control+A")
        page.keyboard.type("blue")
        press("Enter")
        page.get_by_label("Name of blue").wait_for()
        press("Escape")
        page.locator("#classes button", has_text="blue").wait_for()

        now = shown(page)  # An answer is changed where it was given.
        press("ArrowRight" if now == "000.png" else "ArrowLeft")
        page.wait_for_function("old => document.querySelector('#picture img').alt !== old", arg=now)
        other = shown(page)
        press("n")
        page.get_by_text("Labelled none of these").wait_for()
        page.locator("#frame[aria-busy=false]").wait_for()
        press(KEY[truth[other]])
        page.get_by_text(f"Labelled {truth[other]}").wait_for()
        press("Escape")
        page.wait_for_function("() => !document.querySelector('.resume')")

        page.locator("#words:enabled").wait_for()
        press("/")
        page.keyboard.type("something red")
        press("Enter")
        page.locator("#order").evaluate("select => select.value === 'words'")
        while page.locator("#picture img").count():
            name = shown(page)
            press(KEY[truth[name]])
            page.wait_for_function(
                "old => document.querySelector('#picture img')?.alt !== old", arg=name
            )
        page.get_by_role("button", name="Results").last.focus()
        press("Enter")
        page.get_by_role("button", name="Write: Folders of copies").focus()
        press("Enter")
        where = page.locator(".where").inner_text()
        for name in ("Report", "Table", "Classifier"):
            page.get_by_role("button", name=f"Write: {name}").focus()
            press("Enter")
            page.locator(
                ".where", has_text={"Report": "html", "Table": "csv", "Classifier": "skops"}[name]
            ).first.wait_for()
        page.get_by_text("sktip predict").wait_for()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    for name in ("red", "blue"):
        photos = {own for own in truth if truth[own] == name}
        assert set(os.listdir(os.path.join(where, name))) == photos
