"""Draw the published zero-shot accuracy of CLIP models against their time per photo, as the page's table has them."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

rows = re.findall(
    r'^   \* - ``"(?P<name>[^"]+)"(?P<rest>.*)\n     - .*\n     - (?P<time>[\d.]+)\n     - \**(?P<top>[\d.]+) %',
    Path("other_clips.rst").read_text("utf-8"),
    re.MULTILINE,
)
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, rest, time, top in rows:
    source = re.search("openai|datacomp|webli|laion5b", rest)
    ax.scatter(float(time), float(top), color="#0072b2")
    label = f"{name} ({source[0]})" if source else f"{name} (default)"
    ax.annotate(label, (float(time), float(top)), (6, -3), textcoords="offset points", fontsize=9)
ax.set_xscale("log")
ax.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
ax.set_xlim(0.9, 60)
ax.minorticks_off()
ax.set(xlabel="time per photo, relative to ViT-B-32", ylabel="ImageNet, zero-shot (%)")
ax.grid(alpha=0.3)
