"""Make the picture and the animation of `sktip label` in the guide, from the real page in Chromium.

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

from drive import answer, chromium, started, write_drawings  # noqa: E402

SIZE = {"width": 1000, "height": 700}


def main():
    frames = []

    def shoot(seconds):
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append((picture.resize((800, 560), Image.Resampling.LANCZOS), seconds))

    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        folder = f"{home}/drawings"
        truth = write_drawings(folder)
        with started(folder) as (_, address):
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            page.locator("img[alt$='.png']").first.wait_for()
            page.wait_for_timeout(3000)
            shoot(1.5)
            for _ in range(24):
                answer(page, truth, 1)
                page.wait_for_timeout(700)
                shoot(0.4)
            page.get_by_text("24 photos").first.wait_for()
            page.wait_for_timeout(3000)
            shoot(1)
            page.screenshot(path=HERE / "images" / "label.png")
            page.get_by_role("tab", name="What it knows").click()
            page.wait_for_timeout(1500)
            shoot(2.5)
            page.get_by_role("tab", name="Sort").click()
            page.get_by_label("show", exact=True).click()
            page.get_by_role("option", name="food", exact=True).click()
            page.get_by_text("176 photos").wait_for(state="detached")
            page.wait_for_timeout(1500)
            shoot(1.5)
            page.get_by_role("button", name="tick all").click()
            page.wait_for_timeout(1000)
            shoot(1)
            for box in page.get_by_role("checkbox").all():
                name = box.locator("xpath=preceding-sibling::img").get_attribute("alt")
                if truth[name] != "food":
                    box.click()
            page.mouse.wheel(0, -5000)
            page.wait_for_timeout(1000)
            shoot(1.5)
            page.get_by_role("button", name="label them").click()
            page.wait_for_timeout(1500)
            shoot(2)
    first, *others = [picture.quantize(64, dither=Image.Dither.NONE) for picture, _ in frames]
    file = HERE / "images" / "label.gif"
    times = [int(1000 * seconds) for _, seconds in frames]
    first.save(file, save_all=True, append_images=others, duration=times, loop=0, optimize=True)
    print(f"{len(frames)} frames, {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
