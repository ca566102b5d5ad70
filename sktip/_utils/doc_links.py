"""The address of the documentation, and the links that the HTML of estimators has to it."""

from importlib.metadata import PackageNotFoundError, metadata


def address() -> str:
    """Return the URL "Documentation" of `pyproject.toml`. Empty if it has none."""
    try:
        urls = metadata("sktip").get_all("Project-URL", [])
    except PackageNotFoundError:
        urls = []
    named: dict[str, str] = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "").rstrip("/")


class DocumentedMixin:
    """Link the HTML representation of an estimator to its page in the API reference."""

    _doc_link_module = "sktip"
    # Without an address there is no link.
    _doc_link_template = (
        address() and f"{address()}/api/{{estimator_module}}.{{estimator_name}}.html"
    )
