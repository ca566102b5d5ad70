"""
Export to ONNX, for use without sktip
=====================================

``to_onnx`` writes a fitted classifier and the image model of the CLIP to one file. The program that
predicts with it only needs ONNX Runtime and NumPy, not sktip or PyTorch.
"""

# %%
# Fit and export
# --------------

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.export import to_onnx
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
shots, test = next(FewShotSplit(16, random_state=0).split(images, labels))
clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
clf.fit(images[shots], labels[shots])

folder = TemporaryDirectory()
path = Path(folder.name, "digits.onnx")
to_onnx(clf, path, image=True)
print(f"{path.stat().st_size:,} bytes")

# %%
# The other program
# -----------------
# It reads the class names and the preprocessing from the file. Here the pictures are arrays that have the
# size of the model's input already. :ref:`guide_export` shows how to resize photos.

program = """
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
known = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
pixels = known["preprocessing"]

pictures = np.load(sys.argv[2])
assert pictures.shape[1:3] == (pixels["size"], pixels["size"])
inputs = (pictures / 255 - pixels["mean"]) / pixels["std"]
inputs = inputs.transpose(0, 3, 1, 2).astype(np.float32)

(logits,) = session.run(["logits"], {"pixels": inputs})
shares = np.exp(logits - logits.max(axis=1, keepdims=True))
shares /= shares.sum(axis=1, keepdims=True)
for row in shares:
    print(known["classes"][row.argmax()], f"{row.max():.4f}")

assert not {"sktip", "torch", "sklearn", "PIL"} & set(sys.modules)
"""

# %%
# Eight test pictures, resized to the model's input:

from PIL import Image

pictures = [
    np.asarray(
        Image.fromarray(images[index]).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
    )
    for index in test[:8]
]
np.save(Path(folder.name, "pictures.npy"), pictures)
Path(folder.name, "answer.py").write_text(program)
done = subprocess.run(
    [sys.executable, "answer.py", "digits.onnx", "pictures.npy"],
    cwd=folder.name,
    capture_output=True,
    text=True,
    check=True,
)
print(done.stdout)

# %%
# Its predictions are those of the classifier.

from sktip.inspection import PredictionsDisplay

answers = np.array([line.split() for line in done.stdout.splitlines()])
answers, probability = answers[:, 0], answers[:, 1].astype(float)
assert answers.tolist() == clf.predict(images[test[:8]]).tolist()
expected = clf.predict_proba(images[test[:8]]).max(axis=1)
assert np.allclose(probability, expected, atol=1e-3)
folder.cleanup()

PredictionsDisplay.from_predictions(pictures, answers, proba=probability, n_columns=4)
