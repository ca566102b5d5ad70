"""Draw what fine-tuning gains on Stanford Cars, from the measured accuracies."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

# The script runs in its own folder.
sys.path.insert(0, str(Path.cwd().parent))
import accuracy

methods = accuracy.read()["stanford_cars_vitb32"]
figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
for name, colour in {"Tip-Adapter-F, tuned": "#009e73", "Tip-Adapter, tuned": "#7d4f9e"}.items():
    shots = sorted(methods[name])
    means = [methods[name][k][0] for k in shots]
    ax.plot(shots, means, color=colour, marker="o")
    ax.annotate(
        name.removesuffix(", tuned"), (shots[-1], means[-1]), (6, 0), textcoords="offset points",
        color=colour, va="center", annotation_clip=False,
    )  # fmt: skip
ax.set_xscale("log", base=2)
ax.set_xticks(shots, map(str, shots))
ax.set(xlabel="shots per class", ylabel="accuracy on Stanford Cars (%)")
ax.grid(axis="y", alpha=0.3)
