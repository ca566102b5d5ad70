"""Parameters chosen on held-out shots, without a validation set.

Shots are split into folds (`folds`). The shots of each fold in turn are queries of the cached shots, those
of the other folds (`held_out`). The chosen values minimise the log-loss of the held-out shots plus a
prior belief (`beliefs`, `minimum`), or maximise a score (`criteria`): `alpha_beta` for Tip-Adapter,
`discriminant` for GDA, `kernel_ridge` for ProKeR. `beliefs` and `folds` only need NumPy; the other modules
import torch.
"""
