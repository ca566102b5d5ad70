"""Count the images of a Ray job, and those that could not be read."""

from typing import Any

from sktip.distributed._ray import check_ray


def count_errors(dataset: Any) -> dict[str, int]:
    """Count the images of a Ray job, and those that could not be read.

    Ray counts on all its workers. Pass the dataset that was written, from
    ``ray.data.read_parquet(folder)``; a dataset that was not written is computed again.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Dataset with the column ``error`` of `EncodeImages` or `PredictImages`.

    Returns
    -------
    counts : dict
        ``"images"``, the number of rows, and ``"errors"``, the number of rows with an error.

    Raises
    ------
    ImportError
        If Ray is not installed.

    See Also
    --------
    EncodeImages : Adds the column.

    Examples
    --------
    >>> import ray
    >>> from sktip.distributed import count_errors
    >>> rows = [{"path": "a.jpg", "error": None}, {"path": "b.jpg", "error": "the file is empty."}]
    >>> count_errors(ray.data.from_items(rows))
    {'images': 2, 'errors': 1}
    >>> ray.shutdown()
    """
    check_ray("count_errors")
    from ray.data.aggregate import Count

    counts = dataset.aggregate(
        Count(alias_name="images"), Count(on="error", ignore_nulls=True, alias_name="errors")
    )
    return {"images": int(counts["images"] or 0), "errors": int(counts["errors"] or 0)}
