"""Draw the accuracy on rare classes with and without class weights, as the page's table has it."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

row = r"^(\S.+?)" + r"\s+([\d.]+)" * 4 + "$"
rows = re.findall(row, Path("imperfect_labels.rst").read_text("utf-8"), re.MULTILINE)
names = [
    re.sub(r"`~?(sktip\.)?|`", "", name).replace("the same", "TipAdapterClassifier")
    for name, *_ in rows
]
plain, balanced = np.array([(float(cells[2]), float(cells[3])) for _, *cells in rows]).T
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
places = np.arange(len(rows))[::-1]
ax.barh(places + 0.2, plain, 0.38, color="#b8b8b8", label="without weights")
ax.barh(places - 0.2, balanced, 0.38, color="#0072b2", label='class_weight="balanced"')
ax.set_yticks(places, names)
ax.set_xlabel("accuracy on classes with one or two shots (%)")
ax.legend(loc="upper right", bbox_to_anchor=(1, 1.2), ncols=2, frameon=False)
