"""Words that README, guide, examples and docstrings do without: `tox -e lint`."""

import re
import subprocess
from pathlib import Path

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
    r"\bleaving (out )?(the |their )?shots?\b": "held-out shots",
    r"\b(obviously|of course|needless to say|as everybody knows)\b": "nothing",
}


def test_what_is_not_written():
    kinds = ["*.md", "docs/*.rst", "docs/*.py", "examples/*.py", "examples/*.rst", "sktip/*.py"]
    git = ["git", "ls-files", *kinds]
    names = subprocess.check_output(git, cwd=ROOT, text=True).split()
    assert len(names) > 100
    found = []
    for name in names:
        # A phrase may go on in the next line, after what comments begin with.
        text = re.sub(r"\n[ #>]*", "\n", (ROOT / name).read_text("utf-8"))
        for pattern, instead in INSTEAD.items():
            for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {match[0]!r}; instead: {instead}")
    assert not found, "\n".join(found)
