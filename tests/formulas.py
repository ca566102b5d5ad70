"""Published formulas, written down plainly: what classifiers and their maths are compared with."""

import numpy as np

ALPHA, BETA, LAMBDA, SCALE = 0.4, 2.2, 0.07, 30.0


def plain_logits(f, X, y, W, *, alpha=ALPHA, scale=SCALE):
    """Logits of GDA, with the pseudo-inverse."""
    n_classes, d = len(W), X.shape[1]
    mu = np.stack([X[y == code].mean(axis=0) for code in range(n_classes)])
    centred = X - mu[y]
    covariance = centred.T @ centred / len(X)
    shrunken = (len(X) - 1) * covariance + np.trace(covariance) * np.eye(d)
    P = d * np.linalg.pinv(shrunken)
    b = np.log(1 / n_classes) - np.einsum("cd,de,ce->c", mu, P, mu) / 2
    return scale * f @ W.T + alpha * (f @ (P @ mu.T) + b)


def kernel(a, b, beta=BETA):
    return np.exp(-beta * (1 - a @ b.T))


def plain_correction(f, X, y, W, n_classes, *, beta=BETA, lam=LAMBDA):
    """The regression without the weight gamma, by a plain inverse."""
    residual = np.eye(n_classes)[y] - (0 if W is None else X @ W.T)
    return kernel(f, X, beta) @ np.linalg.inv(kernel(X, X, beta) + lam * np.eye(len(X))) @ residual
