"""Descriptions of classes by language models, converted to templates."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sktip._utils.labels import with_nearest
from sktip._utils.messages import composed, some, warn
from sktip._utils.paths import check_input

#: A letter or digit of a script with spaces between words: not of Chinese, Japanese, Korean or Thai.
_LETTER = r"[^\W_\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]"
#: First words of a phrase that can follow "which". Other phrases are things that the class has.
_GO_ON = frozenset(
    "has have had is are was were can may might must often usually typically sometimes generally".split()
)


def read_descriptions(
    path: str | os.PathLike[str],
    class_names: Iterable[str] | Mapping[Any, str] | None = None,
    *,
    template: str = "a photo of a {}",
) -> dict[Any, tuple[str, ...]]:
    """Read class descriptions by a language model, for the parameter `templates` of a classifier.

    Read more in the :ref:`User Guide <guide_descriptions>`.

    Parameters
    ----------
    path : str or path
        JSON file with an object that has a list of texts for each class, in one of two forms:

        - sentences, as in CuPL [1]_: ``{"pug": ["A pug is a small dog with ...", ...]}``. They are used
          unchanged;
        - phrases, as in classification by description [2]_: ``{"pug": ["a wrinkled face", "which has a
          curled tail", ...]}``. Each is appended to `template`: "a photo of a pug, which has a wrinkled
          face."

    class_names : iterable of str, or mapping from label to name, default=None
        The classes. The result has an entry for each, with the name as key, or the label if this is a
        mapping. Case, and spaces or underscores, may differ between a name and the file. If None, the
        classes of the file.

    template : str, default="a photo of a {}"
        Text before a phrase, with ``{}`` for the class name.

    Returns
    -------
    templates : dict from label to tuple of str
        Templates of each class, for `templates` of a classifier and for `fill_prompts`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.

    ValueError
        If the file has another form, has a class twice or a class without text, or lacks one of
        `class_names`. The message shows the closest names in the file.

    Warns
    -----
    UserWarning
        If the file describes classes that are not in `class_names`, or has sentences without a full
        stop, which the language model did not finish.

    See Also
    --------
    fill_prompts : Fill templates with class names.

    Notes
    -----
    A file holds sentences if most of its texts contain the class name as a whole word, or begin with a capital letter
    and end with a full stop. In a file of phrases, a text with its class name or ``{}`` is used unchanged.

    References
    ----------
    .. [1] S. Pratt et al., "What does a platypus look like? Generating customized prompts for zero-shot
       image classification", ICCV 2023, arXiv:2209.03320.

    .. [2] S. Menon and C. Vondrick, "Visual classification via description from large language models",
       ICLR 2023, arXiv:2210.07183.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sktip.prompts import fill_prompts, read_descriptions
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "descriptions.json")
    ...     _ = file.write_text('{"Pug": ["a wrinkled face"], "Maine Coon": ["long fur"]}')
    ...     templates = read_descriptions(file, ["maine_coon", "pug"])
    >>> fill_prompts(["maine_coon", "pug"], templates)
    [['a photo of a maine coon, which has long fur.'],
     ['a photo of a pug, which has a wrinkled face.']]
    """
    if "{}" not in template:
        raise ValueError(f"template={template!r} has no {{}} for the class name.")
    shown = os.fspath(path)
    found = _read_lists(shown)
    labels = _labels_of(found, class_names, shown)
    texts = [(name, text) for name, sentences in found.items() for text in sentences]
    holds_sentences = 2 * sum(_is_sentence(name, text) for name, text in texts) > len(texts)
    if holds_sentences:
        _warn_of_cut_off([(name, text) for name, text in texts if name in labels.values()], shown)
    return {
        label: tuple(
            text if holds_sentences or _names_class(name, text) else _as_prompt(template, text)
            for text in found[name]
        )
        for label, name in labels.items()
    }


def _read_lists(path: str) -> dict[str, list[str]]:
    """Read a JSON object of lists of texts; raise an error if the file holds anything else."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"it has {max(names, key=names.count)!r} twice")
        return dict(pairs)

    whole = os.path.expanduser(path)
    check_input(whole, "a JSON file {class: [texts]}")
    try:
        with open(whole, encoding="utf-8-sig") as file:
            content = json.load(file, object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file of descriptions: {error}.") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path} holds {str(content)[:100]!r}; expected an object with a list of texts for each class."
        )
    for name, texts in content.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"{path}: the entry of {name!r} is not a list of texts, but {str(texts)[:100]!r}."
            )
        content[name] = [text.strip() for text in texts if text.strip()]
        if not content[name]:
            raise ValueError(
                f"{path}: the class {name!r} has no text. Add one, or remove the class."
            )
    return content


def _labels_of(found: Iterable[str], class_names: Any, path: str) -> dict[Any, str]:
    """Name in the file of each class, by label; without `class_names`, all names of the file."""
    if class_names is None:
        return {name: name for name in found}
    if isinstance(class_names, str):
        raise TypeError(f"class_names is one string, {class_names!r}; pass a list.")
    if hasattr(class_names, "keys"):
        wanted = {label: class_names[label] for label in class_names.keys()}  # noqa: SIM118  a Series
    else:
        # Convert the strings of an array to Python's.
        names = class_names.tolist() if hasattr(class_names, "tolist") else list(class_names)
        wanted = {name: name for name in names}
    spelt = {_normal(name): name for name in found}
    missing = [name for name in wanted.values() if _normal(name) not in spelt]
    if missing:
        raise ValueError(
            f"{path} describes {len(wanted) - len(missing):,} of {len(wanted):,} classes; missing are "
            f"{with_nearest(missing, spelt.values())}. Add them, or rename them in the file."
        )
    labels = {label: spelt[_normal(name)] for label, name in wanted.items()}
    unused = sorted(set(found) - set(labels.values()))
    if unused:
        warn(
            f"{path} describes {len(unused):,} classes that are not in class_names and are not used: {some(unused)}."
        )
    return labels


def _normal(name: str) -> str:
    """Return a name or text without differences of case, spaces, underscores and Unicode forms."""
    return " ".join(composed(name).replace("_", " ").casefold().split())


def _names_class(name: str, text: str) -> bool:
    """Whether a text has the class name as whole words: "ant" is in "an ant.", but not in "antennae"."""
    words = f"(?<!{_LETTER}){re.escape(_normal(name))}(?!{_LETTER})"
    return "{}" in text or re.search(words, _normal(text)) is not None


def _is_sentence(name: str, text: str) -> bool:
    return _names_class(name, text) or (text[0].isupper() and _has_end(text))


def _has_end(text: str) -> bool:
    return text.rstrip("\"')]”’ ").endswith((".", "!", "?", "…"))


def _as_prompt(template: str, phrase: str) -> str:
    """Append a phrase to the template, with "which has" before it if it has no verb."""
    phrase = phrase.rstrip(". ")
    first = phrase.split(maxsplit=1)[0].lower()
    if first in ("which", "that", "with"):
        between = ", "
    else:
        between = ", which " if first in _GO_ON else ", which has "
    return f"{template}{between}{phrase}."


def _warn_of_cut_off(sentences: Sequence[tuple[str, str]], path: str) -> None:
    cut = [f"{text} (class {name!r})" for name, text in sentences if not _has_end(text)]
    # If most have no full stop, such as "a photo of a pug", they are not unfinished sentences.
    if cut and 2 * len(cut) <= len(sentences):
        warn(
            f"{len(cut):,} of {len(sentences):,} sentences in {path} have no full stop; the language model probably "
            f"did not finish them: {some(cut)}. They are used unchanged; complete or remove them."
        )
