"""Prompts: templates filled with class names, and the published templates."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sktip._utils.labels import plain, unknown_labels

#: Templates of Tip-Adapter's official code for the paper's eleven data sets.
TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "imagenet": (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
        "caltech101": ("a photo of a {}.",),
        "dtd": ("{} texture.",),
        "eurosat": ("a centered satellite photo of {}.",),
        "fgvc_aircraft": ("a photo of a {}, a type of aircraft.",),
        "food101": ("a photo of {}, a type of food.",),
        "oxford_flowers": ("a photo of a {}, a type of flower.",),
        "oxford_pets": ("a photo of a {}, a type of pet.",),
        "stanford_cars": ("a photo of a {}.",),
        "sun397": ("a photo of a {}.",),
        "ucf101": ("a photo of a person doing {}.",),
    }
)

#: Templates for photos of any kind: the plain ones, and the seven of eighty that CLIP's authors chose on ImageNet.
GENERAL_TEMPLATES: tuple[str, ...] = ("a photo of a {}.", "a photo of {}.", *TEMPLATES["imagenet"])


def fill_prompts(
    class_names: Iterable[str],
    templates: str | Sequence[str] | Mapping[Any, Sequence[str]] = "a photo of a {}.",
    *,
    labels: Sequence[Any] | None = None,
) -> list[list[str]]:
    """Fill templates with class names, to check the prompts that CLIP reads.

    Read more in the :ref:`User Guide <guide_class_names>`.

    Parameters
    ----------
    class_names : iterable of str of length n_classes
        Names of the classes. An underscore is replaced by a space; all other characters, also
        braces, are kept.

    templates : str, sequence of str, or mapping, default="a photo of a {}."
        One template, several templates, or a mapping from each class to its templates. ``{}`` is
        replaced by the name. Only templates in a mapping may lack it.

    labels : sequence of length n_classes, default=None
        Keys of the classes in a mapping of templates. If None, the class names.

    Returns
    -------
    prompts : list of list of str
        Prompts of each class, in the order of `class_names` and of the templates.

    Raises
    ------
    ValueError
        If a template is empty or lacks ``{}``, if a mapping lacks a class, or if a name is not valid
        Unicode, as with some folder names.

    TypeError
        If a name or a template is not a string, or `class_names` is a set or a mapping.

    Examples
    --------
    >>> from sktip.prompts import TEMPLATES, fill_prompts
    >>> fill_prompts(["maine_coon", "pug"], TEMPLATES["oxford_pets"])
    [['a photo of a maine coon, a type of pet.'], ['a photo of a pug, a type of pet.']]
    >>> fill_prompts(["bus", "day"], {"bus": ["a {}", "one {}"], "day": ["sunlight"]})
    [['a bus', 'one bus'], ['sunlight']]
    """
    if isinstance(class_names, str):
        raise TypeError(
            f"class_names is one string, {class_names!r}; pass a list: [{class_names!r}]."
        )
    if isinstance(class_names, Mapping):
        raise TypeError("class_names is a mapping; pass its names: list(class_names.values()).")
    if isinstance(class_names, set | frozenset):
        raise TypeError(
            f"class_names is a {type(class_names).__name__}, whose names have no order; pass a list."
        )
    names = list(map(plain, class_names))
    _check_texts(names, "class name")
    keys = names if labels is None else list(map(plain, labels))
    if isinstance(templates, Mapping):
        missing = unknown_labels(keys, templates)
        if missing:
            raise ValueError(
                f"templates is a mapping without an entry for {missing[:5]!r} ({len(missing)} in all); it needs "
                "one for every class."
            )
        of_class = [_as_list(templates[key], f"templates[{key!r}]") for key in keys]
    else:
        shared = _as_list(templates, "templates")
        for template in shared:
            if "{}" not in template:
                raise ValueError(
                    f"the template {template!r} has no {{}} where the class name goes, so every "
                    "class would get the same prompt. To give each class its own prompts, pass a "
                    "mapping from label to templates."
                )
        of_class = [shared] * len(names)
    return [
        [template.replace("{}", name.replace("_", " ")) for template in class_templates]
        for name, class_templates in zip(names, of_class, strict=True)
    ]


def _as_list(templates: Any, where: str) -> list[str]:
    if hasattr(templates, "keys"):
        raise TypeError(
            f"{where} is a {type(templates).__name__}, and its index could mean classes. Pass its to_dict() "
            "if it does, else its tolist()."
        )
    templates = [templates] if isinstance(templates, str) else list(map(plain, templates))
    _check_texts(templates, f"{where}: template")
    if not templates or not all(map(str.strip, templates)):
        raise ValueError(f"{where} is empty or has an empty template; give at least one template.")
    return templates


def _check_texts(texts: Sequence[Any], what: str) -> None:
    """Refuse what is not text, such as the name of a folder that could not be decoded."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"{what} {index} is {text!r} of type {type(text).__name__}, not a string."
            )
        if text.encode("utf-8", "ignore").decode() != text:
            raise ValueError(
                f"{what} {index} is {text!r}, which is not valid Unicode: some of its bytes could not be decoded. "
                "Rename the class, or give it another name with class_names."
            )
