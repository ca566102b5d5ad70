"""Download files of one revision of a repository on the model hub, without code."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

#: Files that describe a tokenizer or a text model: settings and vocabularies.
DESCRIPTIONS = ["*.json", "*.txt", "*.model"]
#: A tokenizer has at least one of these files.
VOCABULARIES = ("tokenizer.json", "vocab.json", "*.txt", "*.model")
#: Timeout of the first request to the hub, in seconds, if the files are not on this machine.
TIMEOUT = 5


def check_reachable(repository: str, names: Sequence[str], revision: str | None = None) -> None:
    """Raise an error quickly if the files are not on this machine and the hub is not reachable.

    `huggingface_hub` itself would retry for half a minute, for each file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.utils import HfHubHTTPError

    here = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    if HF_HUB_OFFLINE or any(isinstance(path, str) for path in here):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, names[0], revision=revision), timeout=TIMEOUT)
    except HfHubHTTPError:
        # The hub has answered. The download raises the error.
        return


def download(repository: str, name: str, revision: str | None = None) -> Path:
    """Download one file. The name of its folder is the revision."""
    from huggingface_hub import hf_hub_download

    check_reachable(repository, [name], revision)
    return Path(hf_hub_download(repository, name, revision=revision))


def download_first(repository: str, names: Sequence[str], revision: str | None = None) -> Path:
    """Download the first of these files that the repository has."""
    from huggingface_hub.utils import EntryNotFoundError

    for name in names[:-1]:
        with suppress(EntryNotFoundError):
            return download(repository, name, revision)
    return download(repository, names[-1], revision)


def download_descriptions(
    repository: str, needed: tuple[str, ...], revision: str | None = None
) -> Path:
    """Download the description of a tokenizer or a text model, and return the folder.

    Without a network, this is the folder of earlier downloads, which may be incomplete. At least one
    pattern of `needed` must match a file in it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.utils import LocalEntryNotFoundError

    check_reachable(repository, ["config.json", "tokenizer_config.json"], revision)

    folder = Path(
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=DESCRIPTIONS,
            ignore_patterns=["*/*"],
            # Some versions ask the hub for the list of files even when it is offline.
            local_files_only=HF_HUB_OFFLINE,
        )
    )
    if not any(path for pattern in needed for path in folder.glob(pattern)):
        raise LocalEntryNotFoundError(f"{repository} has none of {', '.join(needed)} here")
    return folder
