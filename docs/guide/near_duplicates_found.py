"""Draw copies of photos, and the groups that are found."""

import io

from PIL import Image
from sklearn.datasets import load_sample_images

from sktip.inspection import PredictionsDisplay
from sktip.model_selection import near_duplicate_groups


def recompressed(photo):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=15)
    return Image.open(file)


photos, parts = [], []
for pixels in load_sample_images().images:
    photo = Image.fromarray(pixels)
    w, h = photo.size
    parts += [
        photo.crop((x, y, x + w // 4, y + h // 4))
        for x in range(0, w, w // 4 + 1)
        for y in range(0, h, h // 4 + 1)
    ]
    photos += [
        photo,
        photo.resize((w // 8, h // 8)),
        recompressed(photo),
        photo.crop((0, h // 20, w - w // 20, h)),
    ]
groups = near_duplicate_groups([*photos, *parts])
changes = ["original", "smaller", "recompressed", "cropped"] * 2
titles = [f"group {group}: {change}" for group, change in zip(groups, changes)]
PredictionsDisplay.from_predictions(photos, titles, n_columns=4)
