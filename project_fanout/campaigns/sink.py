"""A mail server for this machine alone: takes every message and keeps it in a Maildir."""

import asyncio
import atexit
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.folders import private_folder

HOST = "127.0.0.1"
#: How it speaks SMTP, for `aiosmtpd.smtp.SMTP`.
OPTIONS: dict[str, Any] = {
    "data_size_limit": 64 * 1024 * 1024,
    "enable_SMTPUTF8": True,
    "hostname": "localhost",
    "ident": "project_fanout sink",
}
_LONGEST_START_S = 60.0


class MaildirHandler:
    """Keeps each accepted message as one file of a Maildir, whole or not at all.

    Not aiosmtpd's own Mailbox: that parses the message, writes other line ends and waits for the disk.

    Args:
        maildir: the folder; made if need be.
    """

    def __init__(self, maildir: Path) -> None:
        self.maildir = maildir
        self._kept = 0
        self._host = socket.gethostname().replace("/", "_").replace(":", "_")
        private_folder(maildir)
        for name in ("tmp", "new", "cur"):
            private_folder(maildir / name)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802  # aiosmtpd's names
        """Keep the message and accept it."""
        self.keep(envelope)
        return "250 2.0.0 Kept"

    def keep(self, envelope: Envelope) -> None:
        """Write the message to `tmp` and move it to `new`, as readers of a Maildir expect."""
        self._kept += 1
        name = f"{time.time_ns()}.P{os.getpid()}Q{self._kept}.{self._host}"
        recipients = ", ".join(envelope.rcpt_tos)
        content: Any = envelope.original_content or b""
        with (self.maildir / "tmp" / name).open("wb") as file:
            file.write(f"Delivered-To: {recipients}\r\n".encode())
            file.write(content)
        (self.maildir / "tmp" / name).rename(self.maildir / "new" / name)


class Sink:
    """A sink in a process of its own, which ends with this one at the latest.

    Args:
        maildir: where it keeps the mail.

    Raises:
        CampaignError: it did not come up.
    """

    def __init__(self, maildir: Path) -> None:
        # Its standard input is a pipe that only this process holds: it sees the end when this one dies.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(maildir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _LONGEST_START_S)
        line = self._process.stdout.readline() if ready else b""
        if not line.strip().isdigit():
            self.close()
            raise CampaignError(
                f"The mail sink for {maildir} did not start; its own message is in the log above."
            )
        self.port = int(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the sink and wait for it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


_shared: dict[Path, Sink] = {}
_shared_lock = threading.Lock()


def shared_sink(maildir: Path) -> Sink:
    """Return this process's sink for *maildir*; start it if there is none or it has died."""
    with _shared_lock:
        sink = _shared.get(maildir)
        if sink is None or not sink.running:
            sink = _shared[maildir] = Sink(maildir)
        return sink


def close_shared_sinks() -> None:
    """End the sinks that this process has started; the next one to need one starts it again."""
    with _shared_lock:
        while _shared:
            _shared.popitem()[1].close()


atexit.register(close_shared_sinks)


async def _run(maildir: Path) -> None:
    """Print the port and keep mail in *maildir* until standard input ends; nothing is ever written to it."""
    loop = asyncio.get_running_loop()
    handler = MaildirHandler(maildir)
    server = await loop.create_server(lambda: SMTP(handler, **OPTIONS), HOST, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(Path(sys.argv[1])))
