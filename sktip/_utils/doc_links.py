"""The address of the documentation, known from one place: the metadata of the package."""

import functools
from importlib.metadata import PackageNotFoundError, metadata


@functools.cache
def address() -> str:
    """Return the URL that `pyproject.toml` calls "Documentation"; empty where it has none."""
    try:
        urls = metadata("sktip").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named: dict[str, str] = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "").rstrip("/")


class DocumentedMixin:
    """Lead from the HTML of an estimator, as notebooks show it, to its page in the API reference."""

    _doc_link_module = "sktip"

    @property
    def _doc_link_template(self) -> str:
        page = "/api/{estimator_module}.{estimator_name}.html"
        return address() + page if address() else ""
