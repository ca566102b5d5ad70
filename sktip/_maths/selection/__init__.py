"""Parameters chosen on held-out shots, without a validation set.

Shots are dealt into folds (`folds`). Each fold is held out in turn and queries what was learned from
the cached shots, those of the other folds (`held_out`). The values that are chosen give the held-out
shots the least log-loss beside a belief (`beliefs`, `minimum`), or the best score (`criteria`):
`alpha_beta` for Tip-Adapter, `discriminant` for GDA, `kernel_ridge` for ProKeR. `beliefs` and `folds`
need NumPy alone; the other modules import torch.
"""
