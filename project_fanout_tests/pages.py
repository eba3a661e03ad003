"""The pages of the documentation, whose examples are run as a user runs them."""

import re
from pathlib import Path

from project_fanout_tests.e2e.server import ROOT


def page(name: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a page that are marked as *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def written(text: str, folder: Path) -> list[str]:
    """Write each Python block of a page to the file that its first line names; return the names."""
    names = []
    for block in blocks(text, "python"):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, f"the block says in its first line which file it is: {block[:80]!r}"
        (folder / name[1]).write_text(block)
        names.append(name[1])
    return names
