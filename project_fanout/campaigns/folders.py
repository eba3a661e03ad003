"""The folders of a campaign: addresses and letters are personal."""

from pathlib import Path


def private_folder(folder: Path) -> Path:
    """Return *folder*; make it, for its owner's eyes alone, where it is missing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
