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


#: Template of the links, for `_doc_link_template` of scikit-learn's estimators. Without an address, no link.
DOC_LINK_TEMPLATE = address() and f"{address()}/api/{{estimator_module}}.{{estimator_name}}.html"
