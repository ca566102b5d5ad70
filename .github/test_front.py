"""What README and the first page show, beside what it is taken from: `tox -e lint`."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_first_lines_are_those_of_the_example():
    """The example is run with the documentation, and the first page includes it."""
    shown = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    example = (ROOT / "examples/start/first_classifier.py").read_text("utf-8")
    assert f"\n{shown}\n# %%" in example
    assert len([line for line in shown.splitlines() if line]) == 12


def test_badges_tell_the_truth():
    badges = re.findall(r"img\.shields\.io/badge/(\S+?)-\w+\)", README)
    bound = next(d for d in PROJECT["dependencies"] if d.startswith("scikit-learn"))
    assert badges == [
        f"python-{PROJECT['requires-python'].removeprefix('>=')}+",
        f"scikit--learn-{bound.removeprefix('scikit-learn>=')}+",
        f"licence-{PROJECT['license'].replace('-', '--')}",
        "works-offline",
    ]


def test_links_of_readme_lead_to_files():
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"", README)
    links = [one or other for one, other in links if not (one or other).startswith("https://")]
    assert len(links) > 15
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_the_version_to_cite_is_that_of_the_package():
    code = (ROOT / "sktip/__init__.py").read_text("utf-8")
    version = re.search(r'^__version__ = "(.*)"$', code, re.MULTILINE)[1]
    cff = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.*)$", cff, re.MULTILINE)[1] == version
    assert re.search(r"^date-released: \d{4}-\d\d-\d\d$", cff, re.MULTILINE)


def test_citations_are_those_of_the_guide():
    """Titles and numbers of papers in CITATION.cff are those that the guide's page lists."""
    cff = (ROOT / "CITATION.cff").read_text("utf-8")
    page = " ".join((ROOT / "docs/guide/cite.rst").read_text("utf-8").split())
    titles = re.findall(r'^ +(?:- )?title: "?(.*?)"?$', cff, re.MULTILINE)
    numbers = re.findall(r'"arXiv:(.*)"', cff)
    assert len(titles) >= len(numbers) > 10
    assert [text for text in titles + numbers if text not in page] == []


def test_github_shows_the_code_of_pages():
    """README links to the pages' sources, in which GitHub hides directives of Sphinx."""
    pages = [page.read_text("utf-8") for page in (ROOT / "docs").glob("**/*.rst")]
    assert any(".. code:: python\n" in page for page in pages)
    assert not [page for page in pages if "testcode::" in page]


def test_github_shows_links_and_names_of_pages():
    """GitHub shows roles of Sphinx as they are, so pages have plain links, of which the build makes roles."""
    pages = [*(ROOT / "docs/guide").glob("*.rst"), *(ROOT / "docs").glob("[gm]*.rst")]
    roles = r":(?:doc|ref|term|arxiv|class|func|meth|py:obj):`[^`]*`|(?<![`\w])`~?sktip\.[^`]*`"
    found = {page.name: re.findall(roles, page.read_text("utf-8")) for page in pages}
    # The index has cards, which GitHub does not show.
    assert not {name: roles for name, roles in found.items() if roles and name != "index.rst"}
