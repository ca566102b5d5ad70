"""Check that Ray is installed."""


def check_ray(caller: str) -> None:
    """Raise an error that says how to get Ray, before anything is computed."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{caller} requires Ray Data. Run: pip install "sktip[ray]"') from error
