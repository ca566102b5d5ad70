"""Draw the scores of a search over alpha and beta on held-out shots."""

from sktip import CLIPFeatureTransformer, TipAdapterClassifierCV
from sktip.datasets import load_digit_images
from sktip.inspection import AlphaBetaDisplay
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
shots, _ = next(FewShotSplit(8, random_state=0).split(images, labels))
clf = TipAdapterClassifierCV(
    clip,
    input="features",
    templates="the digit {}",
    scoring="neg_log_loss",
    alphas=[0.1, 0.3, 1, 3, 10, 30],
    betas=[1, 2, 5.5, 11, 22, 44],
)
clf.fit(clip.transform(images[shots]), labels[shots])
AlphaBetaDisplay.from_estimator(clf)
