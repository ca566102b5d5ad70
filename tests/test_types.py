"""What type checkers, and the completion of an editor, know of an estimator."""

import re
import shutil
from pathlib import Path

import pytest

import sktip
from sktip.utils import all_estimators

CLASSIFIERS = [name for name, _ in all_estimators(type_filter="classifier")]


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Run mypy on lines of code that use sktip; return its first message about each line."""
    api = pytest.importorskip("mypy.api")
    folder = tmp_path_factory.mktemp("types")

    def run(*lines):
        (folder / "used.py").write_text("\n".join(["import sktip", *lines]) + "\n")
        # The types of other libraries are not needed, and reading those of torch takes a minute.
        options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports"]
        out, err, _ = api.run(
            [*options, f"--cache-dir={folder / 'cache'}", str(folder / "used.py")]
        )
        assert not err, err
        found = re.findall(r"^\S*used\.py:(\d+): (?:note|error): (.*)$", out, re.MULTILINE)
        return {int(line) - 2: said for line, said in reversed(found)}

    # A copy, since mypy does not look into the folder that packages are installed in.
    package = Path(sktip.__file__).parent
    unread = shutil.ignore_patterns("tiny", "__pycache__")
    shutil.copytree(package, folder / "source" / "sktip", ignore=unread)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(folder / "source"))
        yield run


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_fitting_returns_the_estimator(check, method):
    names = [name for name in CLASSIFIERS if hasattr(getattr(sktip, name)(), method)]
    assert "TipAdapterClassifier" in names
    said = check(*(f"reveal_type(sktip.{name}().{method}([[1.0]], [0]))" for name in names))
    for line, name in enumerate(names):
        assert re.fullmatch(rf'Revealed type is "sktip\.\w+\.{name}"', said[line])


def test_a_subclass_stays_one(check):
    said = check(
        "class Own(sktip.TipAdapterClassifier): ...",
        "reveal_type(Own().fit([[1.0]], [0]).partial_fit([[1.0]], [0]))",
        "reveal_type(Own().nearest_shots([[1.0]], n=2))",
    )
    assert said == {
        1: 'Revealed type is "used.Own"',
        2: 'Revealed type is "tuple[Any, Any, Any]"',
    }


def test_what_is_refused(check):
    said = check(
        'sktip.TipAdapterClassifier(input="pixels")',
        'sktip.CLIPFeatureTransformer(on_error="ignore")',
        'sktip.CLIPFeatureTransformer(precision="fp8")',
        "sktip.TipAdapterClassifier().fit([[1.0]], [0], weights=[1])",
        "sktip.TipAdapterClassifier().partial_fit()",
    )
    expected = ["'pixels'", "'ignore'", "'fp8'", 'keyword argument "weights"', 'arguments "X", "y"']
    assert len(said) == len(expected)
    for line, part in enumerate(expected):
        assert part in said[line]
