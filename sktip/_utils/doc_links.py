"""The URL of the documentation, from the metadata of the package."""

import functools
from importlib.metadata import PackageNotFoundError, metadata


@functools.cache
def address() -> str:
    """Return the URL "Documentation" of `pyproject.toml`. Empty if it has none."""
    try:
        urls = metadata("sktip").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named: dict[str, str] = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "").rstrip("/")


class DocumentedMixin:
    """Link the HTML representation of an estimator to its page in the API reference."""

    _doc_link_module = "sktip"

    @property
    def _doc_link_template(self) -> str:
        page = "/api/{estimator_module}.{estimator_name}.html"
        return address() + page if address() else ""
