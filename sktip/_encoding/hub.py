"""Files of a repository on the model hub: those of one revision, and none that runs."""

from pathlib import Path

#: What describes a tokenizer or a text model: settings and vocabularies.
DESCRIPTIONS = ["*.json", "*.txt", "*.model"]
#: Files of which a tokenizer has at least one.
VOCABULARIES = ("tokenizer.json", "vocab.json", "*.txt", "*.model")
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def download(repository: str, name: str, revision: str | None = None) -> Path:
    """Download one file; the name of its folder is the revision of all others there."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, name, revision=revision))


def download_weights(repository: str, revision: str) -> Path:
    """Download the weights, by their safe format if there is one."""
    from huggingface_hub.utils import EntryNotFoundError

    try:
        return download(repository, WEIGHTS[0], revision)
    except EntryNotFoundError:
        return download(repository, WEIGHTS[1], revision)


def download_descriptions(
    repository: str, needed: tuple[str, ...], revision: str | None = None
) -> Path:
    """Download what describes a tokenizer or a text model, and return the folder.

    Without a network that is the folder of what was downloaded before, which may be too little:
    of the patterns of `needed`, one has to match.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import LocalEntryNotFoundError

    folder = Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=DESCRIPTIONS, ignore_patterns=["*/*"]
        )
    )
    if not any(path for pattern in needed for path in folder.glob(pattern)):
        raise LocalEntryNotFoundError(f"{repository} has none of {', '.join(needed)} here")
    return folder
