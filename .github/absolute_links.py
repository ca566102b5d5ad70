"""Make the links of README.md absolute, since PyPI shows it without the files beside it.

    python .github/absolute_links.py https://github.com/OWNER/NAME v0.1.0

>>> print(absolute(EXAMPLE, "https://github.com/o/n", "v1"))
[guide](https://github.com/o/n/blob/v1/docs/index.rst), [below](#accuracy), [paper](https://arxiv.org)
<img alt="a" src="https://github.com/o/n/raw/v1/docs/images/a.png">
"""

import re
import sys
from pathlib import Path

EXAMPLE = """[guide](docs/index.rst), [below](#accuracy), [paper](https://arxiv.org)
<img alt="a" src="docs/images/a.png">"""


def absolute(text, repository, tag):
    """The text with the addresses of files in that version: pages for links, contents for pictures."""
    text = re.sub(r"\]\((?!https?://|#)", f"]({repository}/blob/{tag}/", text)
    return re.sub(r'\b(src|srcset)="(?!https?://)', rf'\1="{repository}/raw/{tag}/', text)


if __name__ == "__main__":
    readme = Path(__file__).parents[1] / "README.md"
    readme.write_text(absolute(readme.read_text("utf-8"), *sys.argv[1:]), encoding="utf-8")
