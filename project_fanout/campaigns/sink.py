"""A mail server for this machine alone: takes every message and keeps it in a Maildir.

python -m project_fanout.campaigns.sink --maildir output/campaigns/maildir --port 2525
"""

import argparse
import asyncio
import atexit
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.folders import private_folder

HOST = "127.0.0.1"
_LARGEST_MESSAGE = 64 * 1024 * 1024
_LONGEST_START_S = 60.0


class MaildirHandler:
    """Keeps each accepted message as one file of a Maildir, whole or not at all.

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


async def serve(
    handler: Any, port: int = 0, on_open: Callable[[int], None] = lambda _: None, **options: Any
) -> None:
    """Take mail on 127.0.0.1 until cancelled; then end all connections.

    Args:
        handler: an aiosmtpd handler.
        port: 0 for any free one.
        on_open: called with the port once it is open.
        options: as for `aiosmtpd.smtp.SMTP`.
    """
    connections: weakref.WeakSet[SMTP] = weakref.WeakSet()

    def protocol() -> SMTP:
        connection = SMTP(
            handler,
            data_size_limit=_LARGEST_MESSAGE,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="project_fanout sink",
            **options,
        )
        connections.add(connection)
        return connection

    server = await asyncio.get_running_loop().create_server(protocol, HOST, port)
    on_open(server.sockets[0].getsockname()[1])
    try:
        # Not serve_forever: from Python 3.12 on its end waits for the clients to hang up.
        await asyncio.Event().wait()
    finally:
        server.close()
        for connection in connections:
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()


class Sink:
    """A sink in a process of its own, which ends with this one at the latest.

    Args:
        maildir: where it keeps the mail.
        port: 0 for any free one.

    Raises:
        CampaignError: it did not come up.
    """

    def __init__(self, maildir: Path, port: int = 0) -> None:
        command = [
            sys.executable,
            "-m",
            "project_fanout.campaigns.sink",
            "--maildir",
            str(maildir),
            "--port",
            str(port),
        ]
        # Its standard input is a pipe that only this process holds: it sees the end when this one dies.
        self._process = subprocess.Popen(
            [*command, "--until-input-ends"],
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


def main(arguments: list[str] | None = None) -> None:
    """Run a sink in the foreground and print its port."""
    parser = argparse.ArgumentParser(prog="python -m project_fanout.campaigns.sink", description=__doc__)
    parser.add_argument("--maildir", type=Path, required=True, help="folder that keeps the mail")
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, for any free one"
    )
    parser.add_argument("--until-input-ends", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)

    async def run() -> None:
        serving = asyncio.ensure_future(serve(MaildirHandler(options.maildir), options.port, _print_port))
        if options.until_input_ends:
            loop = asyncio.get_running_loop()

            def wait_for_end() -> None:
                sys.stdin.buffer.read()
                loop.call_soon_threadsafe(serving.cancel)

            threading.Thread(target=wait_for_end, daemon=True).start()
        await serving

    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(run())


def _print_port(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
