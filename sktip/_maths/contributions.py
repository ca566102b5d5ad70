"""How much each shot changed a logit of the few-shot classifier. Arrays only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from sktip._maths.discriminants import KAPPA
from sktip._maths.unit import columns_of


def sparse(residuals: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Keep the residuals (m, p) that matter, as the arrays of a sparse matrix by columns."""
    kept = csc_array(np.where(np.abs(residuals) > 1e-3, residuals, 0))
    return {"data": kept.data, "indices": kept.indices, "indptr": kept.indptr}


def shot_contributions(
    evidence: dict[str, Any],
    queries: NDArray[Any],
    targets: NDArray[Any],
    *,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    prior: NDArray[Any],
    means: NDArray[Any],
) -> NDArray[Any]:
    """How much each shot changed the logit of one class for each query, (n, m).

    With the predicted means, the covariances, the weights and the residuals of the correction fixed, a
    logit is a sum over shots plus a remainder.

    `evidence` is that of the `TextPriorModel`. Unit features of queries are (n, d), and the class codes to explain
    (n,). The shots of positive weight are (m, d), their codes and weights (m,). `prior` and `means`, (C, d), are
    the class means as predicted from the text, and with the shots.
    """
    e = evidence

    def residuals_of(kept: dict[str, Any]) -> csc_array:
        parts = kept["data"], kept["indices"], kept["indptr"]
        return csc_array(parts, shape=(len(shots), len(e["present"])))

    residuals = residuals_of(e)
    # A shot moves the mean of its class by w (x - prior) / (kappa + n), and the correction, in whitened
    # features, by variance times residual times x.
    counts = np.bincount(codes, weights, len(means))
    columns = np.searchsorted(e["present"], targets)
    result = np.zeros((len(queries), len(shots)))
    widths = [len(block["centre"]) for block in e["blocks"]]
    for block, part in zip(e["blocks"], columns_of(widths), strict=True):
        block_shots, block_prior = shots[:, part], prior[:, part]
        centre, precision = block["centre"], block["precision"]
        weighted = queries[:, part] @ precision
        places = (means[:, part] + block_prior)[targets] / 2
        correcting = (weighted - centre @ precision) @ (block_shots - centre).T
        for row, code in enumerate(targets):
            in_class = codes == code
            share = block["weight"] * weights[in_class] / (KAPPA + counts[code])
            moves = (block_shots[in_class] - block_prior[code]) @ (
                weighted[row] - places[row] @ precision
            )
            result[row, in_class] += share * moves
            if counts[code]:
                column = residuals[:, [columns[row]]].toarray()[:, 0]
                result[row] += block["variances"][columns[row]] * column * correcting[row]
        if "second" in block:
            # The second opinion, by variance times residual times x as it is.
            seen = np.flatnonzero(counts[targets] > 0)
            column = residuals_of(block["second"])[:, columns[seen]].toarray().T
            alike = queries[seen][:, part] @ block_shots.T
            result[seen] += block["second"]["variance"] * column * alike
    return result
