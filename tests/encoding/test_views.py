"""Random views: they depend on the seed, the content of the image and the number of the view."""

import numpy as np
import pytest
from image_files import picture

from sktip import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder


@pytest.fixture
def photo():
    return np.asarray(picture().convert("RGB"))


def encoder(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", **parameters)


def test_views_average_raw_features_of_random_crops(clip, photo):
    raw = next(open_encoder(clip).views([photo], 5, 3))
    assert len(np.unique(raw.round(4), axis=0)) == 5
    mean = raw.mean(axis=0)
    features = encoder(n_views=5, random_state=3).transform([photo])[0]
    np.testing.assert_allclose(features, mean / np.linalg.norm(mean), atol=1e-6)


def test_views_depend_on_seed_and_content_only(photo, tmp_path):
    path, other = tmp_path / "photo.png", photo[::-1].copy()
    picture().save(path)
    alone = encoder(n_views=3, random_state=0).transform([other])
    many = encoder(n_views=3, random_state=0, batch_size=2, n_jobs=2)
    np.testing.assert_allclose(many.transform([path, photo, other])[2], alone[0], atol=1e-5)
    assert abs(encoder(n_views=3, random_state=1).transform([other]) - alone).max() > 1e-3
    fresh = encoder(n_views=3, random_state=None)
    assert abs(fresh.transform([other]) - fresh.transform([other])).max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2000)])
def test_extreme_shapes(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    views = encoder(n_views=2, random_state=0)
    assert np.isfinite(views.transform([image, image.T])).all()
