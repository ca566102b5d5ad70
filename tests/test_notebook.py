"""What a notebook shows: the HTML of estimators, with links to their pages, and completion."""

import pytest
from sklearn.utils import estimator_html_repr

import sktip
from sktip.utils import all_estimators


def test_html_links_to_the_api_reference(monkeypatch):
    template = "https://docs.test/api/{estimator_module}.{estimator_name}.html"
    for name, estimator in all_estimators():
        monkeypatch.setattr(estimator, "_doc_link_template", template)
        page = f"https://docs.test/api/sktip.{name}.html"
        assert f'href="{page}"' in estimator_html_repr(estimator())
        elsewhere = type(name, (estimator,), {"__module__": "elsewhere"})
        assert page not in estimator_html_repr(elsewhere())


def test_no_address_no_link(monkeypatch):
    for name, estimator in all_estimators():
        monkeypatch.setattr(estimator, "_doc_link_template", "")
        html = estimator_html_repr(estimator())
        assert "href" not in html
        assert name in html


def test_looking_at_an_encoder_does_not_load_its_model():
    clip = sktip.CLIPFeatureTransformer("no such model")
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
