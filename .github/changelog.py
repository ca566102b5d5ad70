"""Ask the changelog: whether a change has an entry, and what to say of a release.

>>> print(section(EXAMPLE, "0.2.0"))
### Added
<BLANKLINE>
- Something that needs two lines.
  - Or three.
>>> section(EXAMPLE, "0.3.0")
Traceback (most recent call last):
SystemExit: CHANGELOG.md: give the section of 0.3.0 its date, as in "## 0.3.0 (2026-01-31)"
>>> section(EXAMPLE, "0.3.0.dev0")
Traceback (most recent call last):
SystemExit: sktip/__init__.py: 0.3.0.dev0 is no version to release; set __version__ first
>>> lacks_entry(["sktip/_base.py", "tests/test_common.py"])
True
>>> lacks_entry(["sktip/_base.py", "CHANGELOG.md"]) or lacks_entry(["docs/index.rst"])
False
"""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = """# Changelog

## 0.3.0 (unreleased)

## 0.2.0 (2026-01-31)

### Added

- Something that
  needs two lines.
  - Or three.

## 0.1.0 (2025-12-01)
"""


def section(changelog, version):
    """What the changelog says of a version that is to be released."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise SystemExit(
            f"sktip/__init__.py: {version} is no version to release; set __version__ first"
        )
    heading = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise SystemExit(
            f"CHANGELOG.md: give the section of {version} its date, "
            f'as in "## {version} (2026-01-31)"'
        )
    # A release of GitHub shows every end of a line as one.
    return re.sub(r"\n +(?=[^\s-])", " ", found[1].strip())


def lacks_entry(paths):
    """Whether a change of these files needs an entry, and has none."""
    return any(path.startswith("sktip/") for path in paths) and "CHANGELOG.md" not in paths


def main(command, base=None):
    root = Path(__file__).parents[1]
    # Read, not imported: what the package stands on is not installed here.
    source = (root / "sktip/__init__.py").read_text(encoding="utf-8")
    version = re.search('^__version__ = "(.*)"$', source, re.MULTILINE)[1]
    if command == "version":
        print(version)
    elif command == "section":
        print(section((root / "CHANGELOG.md").read_text(encoding="utf-8"), version))
    elif command == "changed":
        git = ["git", "-C", root, "diff", "--name-only", base]
        if lacks_entry(subprocess.check_output(git, text=True).splitlines()):
            raise SystemExit(
                "sktip/ changes and CHANGELOG.md does not. Say there what users will see; "
                'where they see nothing, give the pull request the label "no changelog".'
            )
    else:
        raise SystemExit(f"no such command: {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
