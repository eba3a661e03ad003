"""What the senders of one run tell each other: they are in processes of their own."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from project_fanout.common import replace_file

#: accepted: the server has accepted somebody. stopped: it takes nothing from this sender; the text says why.
Topic = Literal["accepted", "stopped"]


class RunNotes:
    """Notes about one mail server, for all senders of a run that share a folder.

    They are small files, each of which holds the note of the run that wrote last. Two runs at once may overwrite
    each other's: a sender then has nothing but its own experience, as without notes.

    Args:
        folder: where they are.
        server: the server's name, as part of a file's name.
        run: the run's id; "" for a sender of no run, which neither gives nor gets notes.
    """

    def __init__(self, folder: Path, server: str, run: str) -> None:
        self._folder = folder
        self._server = server
        self._run = run

    def tell(self, topic: Topic, text: str = "") -> None:
        """Give a note on *topic* to the other senders of the run."""
        if not self._run:
            return
        note = f"{self._run}\n{text}".encode(errors="replace")
        # Without a note the others find out for themselves.
        with suppress(OSError):
            replace_file(self._file(topic), note, mode=0o600, durable=False)

    def told(self, topic: Topic) -> str | None:
        """Return the text of the run's note on *topic*, None if there is none."""
        if not self._run:
            return None
        try:
            run, _, text = self._file(topic).read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return None
        return text if run == self._run else None

    def _file(self, topic: Topic) -> Path:
        return self._folder / f"{self._server}.{topic}"
