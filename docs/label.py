"""Make the pictures of `sktip label` in README and the guide, light and dark, from the real page in Chromium.

    python docs/label.py

Its drawings are OpenMoji's, CC BY-SA 4.0.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "label"))

from drive import CLASSES, KEYS, answer, chromium, shown, started, write_drawings  # noqa: E402

SIZE = {"width": 1200, "height": 750}


def shoot(page, name):
    """Write the page as it is, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(500)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        file = HERE / "images" / f"{name}-{scheme}.png"
        picture.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


def main():
    templates = ["--template", "a picture of a {}", "--template", "an icon of a {}"]
    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        folder = f"{home}/drawings"
        truth = write_drawings(folder)
        with started(folder, *templates, classes=CLASSES) as (_, address):
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(120_000)
            page.goto(address)
            page.get_by_role("button", name="Close this note").click()
            # Once in a while, what was learned is waited for, as a person would have it.
            for _ in range(6):
                answer(page, lambda name: KEYS[truth[name]], 10)
                page.wait_for_timeout(8000)
            # A photo of which the page is rather sure shows most.
            while "ikely" not in page.locator("#guess").inner_text():
                answer(page, lambda name: KEYS[truth[name]])
                page.wait_for_timeout(500)
            shown(page)
            page.locator("#toast:not(.open)").wait_for(state="attached")
            shoot(page, "label")
            page.get_by_role("button", name="Sort", exact=True).click()
            page.get_by_label("Of which class").select_option("food")
            page.locator("#sort input[type=checkbox]:enabled").first.wait_for()
            page.keyboard.press("a")
            page.wait_for_timeout(2000)
            for tile in page.locator("#sort .tile").all():
                name = tile.get_by_role("checkbox").get_attribute("aria-label").split()[-1]
                if truth[name] != "food" and tile.get_by_role("checkbox").is_checked():
                    tile.get_by_role("checkbox").uncheck()
            page.locator("#sort .grid").evaluate("grid => grid.scrollTo(0, 0)")
            shoot(page, "label-sort")
            page.get_by_role("button", name="Results", exact=True).click()
            page.get_by_text("Most doubtful labels").wait_for()
            shoot(page, "label-results")


if __name__ == "__main__":
    main()
