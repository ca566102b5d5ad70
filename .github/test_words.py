"""Words that the text of README, guide, examples and docstrings does without: `tox -e lint`."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What is not written, as a pattern, and what is written instead.
INSTEAD = {
    r"\b(shots?|photos?|images?|pictures?|prompts?|views?|labels?) a class\b": "per class",
    r"\b(images|photos|pictures|rows|queries) a second\b": "per second",
    r"\bprocessors?\b": "CPU",
    r"\bsureness\b": "confidence",
    r"\brivals?\b": "competing classes",
    r"\bleft[- ]out (shots?|folds?|images?|logits)\b": "held-out",
    r"\b(shots?|images?) (that are )?left out\b": "held-out shots",
    r"\bleaving (out )?(the |their )?shots?( themselves)? out\b|\bleaving out (the |their )?shots?\b": (
        "held-out shots"
    ),
    r"\bnothing (can be left|to leave) out\b": "alpha and beta cannot be tuned",
    r"\b(is|are) asked about\b": "is predicted, or a held-out shot is scored",
    r"\bleft over\b|\bleaves over\b": "what the text prior gets wrong",
    r"\btimes as loud\b": "count several times",
    r"\bhow the parts work together\b": "what the page is for",
    r"\b(obviously|of course|needless to say|as everybody knows)\b": "nothing",
    r"(?-i:^(\.\. )?[A-Z][A-Z_]{4,}$)": "what the placeholder stands for",
    r"^\s*\[\.\.\. \.\.\.": "the output itself",
}


def texts():
    """The files that are read: those that git knows, in README, docs, examples and package."""
    kinds = ["*.md", "docs/*.rst", "docs/*.py", "examples/*.py", "examples/*.rst", "sktip/*.py"]
    git = ["git", "ls-files", *kinds]
    names = subprocess.check_output(git, cwd=ROOT, text=True).split()
    assert len(names) > 100
    return names


@pytest.mark.parametrize("pattern", INSTEAD)
def test_what_is_not_written(pattern):
    found = []
    for name in texts():
        # A phrase may go on in the next line, after what comments begin with.
        text = re.sub(
            r"\n[ #>]*",
            lambda gap: "\n" + " " * (len(gap[0]) - 1),
            (ROOT / name).read_text("utf-8"),
        )
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(
                f"{name}:{line}: {' '.join(match[0].split())!r}; instead: {INSTEAD[pattern]}"
            )
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("four shots a class", next(iter(INSTEAD))),
        ("by leaving out the shots", list(INSTEAD)[7]),
        (".. ACCURACY_TABLE", list(INSTEAD)[-2]),
        ("   [... ... ...] [... ... ...]", list(INSTEAD)[-1]),
    ],
)
def test_a_pattern_finds_what_it_is_for(text, pattern):
    assert re.search(pattern, text, re.MULTILINE)
