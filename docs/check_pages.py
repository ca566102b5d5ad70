"""Read the built pages in a browser: widths, contrast, alternative texts, keyboard, and what the search finds.

    python docs/check_pages.py docs/_build/html [--pages 'guide/*.html']

The browser is a Chromium of the system, or the one of ``playwright install chromium``. Where there is none, nothing is
checked, and the last line says so. The rules are axe-core's for WCAG 2.1, levels A and AA.
"""

import argparse
import functools
import http.server
import shutil
import sys
import threading
from pathlib import Path
from urllib.parse import quote_plus

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, sync_playwright

#: Widths, heights and schemes of the windows, and the rules for each. Only contrasts differ between the schemes.
WINDOWS = (
    (1366, 768, "light", ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]),
    (1366, 768, "dark", ["color-contrast"]),
    (390, 844, "light", ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]),
    (390, 844, "dark", ["color-contrast"]),
)
#: docutils gives lists of references roles that ARIA has dropped.
NOT_OURS = ("aria-deprecated-role", "aria-required-children")
#: What people look for, and the page that has to be among the first three that the search finds.
WORDS = {
    "imbalanced": "guide/imperfect_labels",
    "unknown": "guide/unknown",
    "outlier": "guide/unknown",
    "open-set": "guide/unknown",
    "mislabeled": "guide/imperfect_labels",
    "noisy labels": "guide/imperfect_labels",
    "conformal": "guide/how_good",
    "uncertainty": "guide/how_good",
    "deploy": "guide/many_images",
    "FastAPI": "guide/many_images",
    "ONNX": "guide/export",
    "HEIC": "guide/own_photos",
    "active learning": "guide/what_to_label",
    "annotation": "guide/label_page",
    "label": "guide/label_page",
    "kaggle": "guide/tables",
    "cache": "guide/tip_adapter",
    "threshold": "guide/misses",
    "misses": "guide/misses",
    "quality control": "guide/misses",
    "crops": "guide/crops",
    "duplicates": "guide/search",
    "learning curve": "guide/how_good",
    "drift": "guide/how_good",
    "semi-supervised": "guide/unlabelled",
    "unlabelled": "guide/unlabelled",
    "zero-shot": "guide/few_shot",
    "linear probe": "guide/which_classifier",
    "GPU": "guide/other_clips",
    "offline": "guide/other_clips",
    "cite": "guide/cite",
    "licence": "guide/cite",
    "multilingual": "guide/other_clips",
    "video": "guide/imperfect_labels",
    "camera trap": "guide/camera_trap",
    "taxonomy": "guide/back_off",
    "hierarchy": "guide/back_off",
    "multi-label": "guide/tags",
    "tags": "guide/tags",
    "DataFrame": "guide/tables",
    "tabular": "guide/tables",
    "ColumnTransformer": "guide/tables",
    "new method": "guide/paper_table",
    "monitoring": "guide/many_images",
    "latency": "guide/many_images",
    "DINOv2": "guide/any_encoder",
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the pages, without a line of log for each request."""

    def log_message(self, *args):
        pass


def serve(root):
    """Serve a folder from a thread, and return its address."""
    handler = functools.partial(Handler, directory=root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def start(playwright):
    """Start a Chromium: the system's, else playwright's own; None where there is neither."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    try:
        return playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
    except Error:
        return None


def check_width(page):
    """Yield whether the page is wider than its window."""
    needed, there = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    if needed > there:
        yield f"is {needed} pixels wide"


def check_rules(page, axe, rules):
    """Yield each place that breaks a rule of axe-core."""
    options = {"runOnly": rules, "rules": {rule: {"enabled": False} for rule in NOT_OURS}}
    for violation in axe.run(page, options=options).response["violations"]:
        for node in violation["nodes"]:
            why = node["any"][0]["message"] if node["any"] else violation["help"]
            yield f"{violation['id']}: {' '.join(node['target'])}: {why}"


def check_search(page, address):
    """Yield each word for which a search of the site does not find its page among the first three."""
    for word, wanted in WORDS.items():
        page.goto(f"{address}search.html?q={quote_plus(word)}")
        page.wait_for_function(
            "/finished|did not match/.test(document.querySelector('#search-results').innerText)"
        )
        links = page.locator("ul.search li > a").evaluate_all("links => links.map(a => a.href)")
        # A page and a section of it are one find.
        pages = dict.fromkeys(link.removeprefix(address).partition(".html")[0] for link in links)
        found = list(pages)[:3]
        if wanted not in found:
            yield f"a search for {word} finds {', '.join(found) or 'nothing'}, not {wanted}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--pages", default="**/*.html", help="pattern of the pages to read")
    options = parser.parse_args(arguments)
    paths = [
        path.relative_to(options.root).as_posix()
        for path in sorted(options.root.glob(options.pages))
        if "_static" not in path.parts and path.name not in ("search.html", "genindex.html")
    ]
    if not paths:
        sys.exit(f"no pages {options.pages} in {options.root}")
    address, axe, wrong = serve(options.root), Axe(), []
    with sync_playwright() as playwright:
        browser = start(playwright)
        if browser is None:
            print(
                "NOT CHECKED in a browser: there is no Chromium; install it, or run playwright install chromium"
            )
            return 0
        print(f"{len(paths)} pages in Chromium {browser.version}")
        for width, height, scheme, rules in WINDOWS:
            window = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page = window.new_page()
            for path in paths:
                page.goto(address + path)
                found = [*check_width(page), *check_rules(page, axe, rules)]
                wrong += [f"{path}, {width} pixels, {scheme}: {what}" for what in found]
            window.close()
        wrong += check_search(browser.new_page(), address)
    print("\n".join(wrong))
    print(f"{len(wrong)} things to mend")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
