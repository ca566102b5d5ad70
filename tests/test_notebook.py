"""What a notebook shows: the HTML of estimators, with links to their pages, and completion."""

from importlib.metadata import metadata

import pytest
from sklearn.utils import estimator_html_repr

import sktip
from sktip._utils import doc_links
from sktip.utils import all_estimators

ESTIMATORS = [cls for _, cls in all_estimators()]


@pytest.fixture
def with_address(monkeypatch):
    """Let the package's metadata have these URLs."""

    def with_urls(*urls):
        entries = metadata("sktip")
        del entries["Project-URL"]
        for url in urls:
            entries["Project-URL"] = url
        monkeypatch.setattr(doc_links, "metadata", lambda name: entries)
        doc_links.address.cache_clear()

    yield with_urls
    doc_links.address.cache_clear()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_html_links_to_the_api_reference(estimator, with_address):
    page = f"https://docs.test/stable/api/sktip.{estimator.__name__}.html"
    with_address("Source, https://code.test", "Documentation, https://docs.test/stable/")
    assert f'href="{page}"' in estimator_html_repr(estimator())

    class OfAnotherPackage(estimator):
        pass

    OfAnotherPackage.__module__ = "elsewhere"
    assert page not in estimator_html_repr(OfAnotherPackage())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_no_address_no_link(estimator, with_address):
    with_address("Source, https://code.test")
    html = estimator_html_repr(estimator())
    assert "href" not in html
    assert estimator.__name__ in html


def test_looking_at_an_encoder_does_not_load_its_model(monkeypatch):
    def load(*arguments):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("sktip._encoder.load_clip", load)
    clip = sktip.CLIPFeatureTransformer()
    assert "get_feature_names_out" in dir(clip)
    assert "CLIPFeatureTransformer" in clip._repr_html_() + repr(clip)
    assert "CLIPFeatureTransformer" in estimator_html_repr(sktip.TipAdapterClassifier(clip))


@pytest.mark.parametrize(
    "module",
    [sktip, sktip.model_selection, sktip.prompts, sktip.utils],
    ids=lambda module: module.__name__,
)
def test_completion_offers_what_is_public(module):
    assert dir(module) == sorted(module.__all__)


def test_package_that_is_not_installed(with_address, monkeypatch):
    with_address()

    def missing(name):
        raise doc_links.PackageNotFoundError(name)

    monkeypatch.setattr(doc_links, "metadata", missing)
    assert doc_links.address() == ""
