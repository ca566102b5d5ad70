"""Draw the accuracies measured on Stanford Cars, of the page on the family."""

from sktip.inspection import ShotsCurveDisplay

unknown = float("nan")
accuracy = {
    "zero-shot": [58.9] * 5,
    "Tip-Adapter": [60.7, 60.8, 62.5, 64.4, 67.7],
    "Tip-Adapter, tuned": [unknown, 63.1, 65.4, 67.5, 69.7],
    "Tip-Adapter-F, tuned": [unknown, 65.1, 68.0, 72.2, 77.3],
    "CLIP-Adapter": [60.4, 60.6, 61.8, 63.7, 67.0],
    "GDA": [61.7, 63.4, 69.6, 73.5, 77.7],
    "ProKeR": [61.7, 63.5, 68.4, 74.5, 79.8],
}
one_draw = {name: [[value] for value in values] for name, values in accuracy.items()}
ShotsCurveDisplay([1, 2, 4, 8, 16], one_draw, score_name="accuracy on Stanford Cars (%)").plot()
