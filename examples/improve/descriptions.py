"""
Descriptions of classes as prompts
==================================

Use descriptions of each class by a language model as prompts. ``read_descriptions`` reads them from a JSON
file, checks them and converts them to templates. Here they are compared with one template for all classes.
"""

# %%
# A file of descriptions
# ----------------------
# Usually a language model writes the file. It has sentences that describe what each class looks like. Here
# one sentence is incomplete, and the file describes a class that is not among the labels. There is a
# warning about each.

import json
import os
import warnings
from tempfile import TemporaryDirectory

from sktip import CLIPFeatureTransformer, FewShotClassifier, ZeroShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit
from sktip.prompts import fill_prompts, read_descriptions

data = load_digit_images()
names = sorted(data.target_names)
texts = {name: [f"A picture of the number {name}.", f"The digit {name}."] for name in names}
texts["one"].append("The digit one is a straight")
texts["ten"] = ["The number ten has two digits."]

folder = TemporaryDirectory()
path = os.path.join(folder.name, "descriptions.json")
with open(path, "w") as file:
    json.dump(texts, file)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    templates = read_descriptions(path, names)
for warning in caught:
    print(str(warning.message).replace(folder.name, ""))

# %%
# The prompts
# -----------
# Sentences are used unchanged. Phrases, such as "a long neck", would be appended to the class name.

for prompt in fill_prompts(["seven"], templates)[0]:
    print(prompt)

# %%
# Compared with one template for all classes
# ------------------------------------------
# Both are compared without shots and with two shots per class. Here the descriptions are a little worse:
# measure them on your own photos before you use them.

import matplotlib.pyplot as plt

clip = CLIPFeatureTransformer("tiny")
F = clip.transform(data.data)
figure, ax = plt.subplots(figsize=(5.4, 2.6), layout="constrained")
shots, test = next(FewShotSplit(2, random_state=0).split(F, data.target))
for title, own in (("one template", "a photo of a {}."), ("descriptions", templates)):
    common = {"input": "features", "class_names": names, "templates": own}
    zero_shot = ZeroShotClassifier(clip, **common).fit()
    few_shot = FewShotClassifier(clip, **common).fit(F[shots], data.target[shots])
    scores = [clf.score(F[test], data.target[test]) for clf in (zero_shot, few_shot)]
    print(f"{title:13} zero-shot {100 * scores[0]:.1f} %   2 shots {100 * scores[1]:.1f} %")
    places = [f"{kind}, {title}" for kind in ("zero-shot", "2 shots")]
    ax.bar_label(ax.barh(places, scores), fmt="{:.1%}", padding=3)
ax.set(xlim=(0, 1), xlabel="accuracy on the other digits")
plt.show()
folder.cleanup()
