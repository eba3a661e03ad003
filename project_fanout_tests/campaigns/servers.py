"""Mail servers for the tests: real SMTP on 127.0.0.1, with faults where a recipient's name asks for one."""

import asyncio
import mailbox
import queue
import socket
import socketserver
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from project_fanout.campaigns.sink import HOST, OPTIONS, MaildirHandler


class FaultyHandler(MaildirHandler):
    """Refuses, defers, drops or is slow, as the recipient's local part says, once where the fault is passing."""

    def __init__(self, maildir: Path) -> None:
        super().__init__(maildir)
        self.seen: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer as the address asks."""
        wish = address.split("@", maxsplit=1)[0].rstrip("0123456789")
        self.seen[address] += 1
        if wish == "refused":
            return "550 5.1.1 no such user <" + address + ">"
        if wish == "deferred" and self.seen[address] == 1:
            return "451 4.7.1 greylisted, come back"
        if wish == "always-deferred":
            return "451 4.2.2 mailbox full"
        if wish == "dropped-early" and self.seen[address] == 1:
            server.transport.abort()
        if wish == "goodbye" and self.seen[address] == 1:
            return "421 4.3.2 closing"
        if wish == "slow":
            await asyncio.sleep(0.3)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep the message, or answer as the address asks."""
        wish = envelope.rcpt_tos[0].partition("@")[0].rstrip("0123456789")
        if wish == "refused-late":
            return "554 5.7.1 looks like spam"
        if wish == "deferred-late" and self.seen[envelope.rcpt_tos[0]] == 1:
            return "452 4.3.1 disk full for now"
        if wish == "dropped-late":
            server.transport.abort()
            return "250 OK"
        self.keep(envelope)
        if wish == "kept-then-dropped":
            server.transport.abort()
        return "250 2.0.0 Kept"


class _Refusing(SMTP):
    """Asks its handler also before it asks for the content, which aiosmtpd has no hook for."""

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802  # aiosmtpd's name
        said = self.event_handler.said("DATA", "")
        await (self.push(said) if said else super().smtp_DATA(arg))


class RefusingHandler:
    """What a server says that answers as a function says, and what it has been told.

    Args:
        answer: takes MAIL, RCPT, DATA or content, and the recipient, as far as the server knows; returns what is
            said, None for yes.

    `commands` counts the commands by verb, `accepted` the messages by recipient.
    """

    def __init__(self, answer: Callable[[str, str], str | None]) -> None:
        self._answer = answer
        self._address = ""
        self.commands: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def said(self, verb: str, address: str) -> str | None:
        """Return what is answered; without an address the one of the last RCPT counts."""
        self.commands[verb] += 1
        self._address = address or self._address
        return self._answer(verb, self._address)

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer as the function says."""
        envelope.mail_from = address
        return self.said("MAIL", "") or "250 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer as the function says."""
        said = self.said("RCPT", address)
        if said is None:
            envelope.rcpt_tos.append(address)
        return said or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Answer as the function says."""
        said = self.said("content", envelope.rcpt_tos[0])
        self.accepted[envelope.rcpt_tos[0]] += said is None
        return said or "250 2.0.0 Kept"


async def serve(handler: Any, port: int, on_open: Callable[[int], None], **options: Any) -> None:
    """Take mail on 127.0.0.1 as the sink does until cancelled; then end all connections."""
    connections: weakref.WeakSet[SMTP] = weakref.WeakSet()
    kind = _Refusing if isinstance(handler, RefusingHandler) else SMTP

    def protocol() -> SMTP:
        connection = kind(handler, **OPTIONS, **options)
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


@contextmanager
def running(handler: Any, port: int = 0, **options: Any) -> Iterator[int]:
    """Serve with *handler* in a thread and give the port; all connections end with the block."""
    opened: queue.Queue[int] = queue.Queue()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.ensure_future(serve(handler, port, opened.put, **options))
        tasks.append((asyncio.get_running_loop(), task))
        with suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        yield opened.get(timeout=30)
    finally:
        loop, task = tasks[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)


class Scripted:
    """What a server that answers as a script says has been told.

    Args:
        port: where it listens.

    `kept` counts the messages that have come in by recipient, `accepted` those that it said yes to.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.lines: list[str] = []
        self.kept: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def count(self, verb: str) -> int:
        """Return how often a command was given."""
        return sum(line.upper().startswith(verb) for line in self.lines)


@contextmanager
def scripted(
    answer: Callable[[str], str | None],
    *,
    greeting: str = "220 hello",
    offers: tuple[str, ...] = ("8BITMIME",),
) -> Iterator[Scripted]:
    """Serve on a free port and give what has come in.

    Args:
        answer: takes a command, or "content <address>" after a message, and returns what the server says; None
            for what a server would usually say, "" to end the connection.
        greeting: its first line.
        offers: its extensions.
    """

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say(greeting)
            address = ""
            for line in map(bytes.decode, self.rfile):
                said = line.strip()
                server.lines.append(said)
                verb = said[:4].upper()
                if verb == "RCPT":
                    address = said[9:].rstrip(">")
                answered = answer(said)
                if not self.say(answered, usual.get(verb, "250 OK")):
                    return
                if verb == "DATA" and (answered is None or answered.startswith("354")):
                    while self.rfile.readline() not in (b".\r\n", b""):
                        pass
                    server.kept[address] += 1
                    answered = answer(f"content {address}")
                    server.accepted[address] += answered is None or answered.startswith("250")
                    if not self.say(answered):
                        return

        def say(self, text: str | None, usual: str = "250 OK") -> bool:
            said = usual if text is None else text
            if said:
                self.wfile.write(f"{said}\r\n".encode())
            return bool(said)

    usual_hello = "\r\n".join(["250-hello", *(f"250-{each}" for each in offers), "250 HELP"])
    usual = {"EHLO": usual_hello, "DATA": "354 go on", "AUTH": "235 welcome"}
    with socketserver.ThreadingTCPServer((HOST, 0), Conversation) as listening:
        listening.daemon_threads = True
        server = Scripted(listening.server_address[1])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join(30)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def messages(maildir: Path) -> list[EmailMessage]:
    """Return every message in *maildir*, parsed, none of them with a defect."""
    found = []
    for raw in sorted((maildir / "new").iterdir()):
        message = message_from_bytes(raw.read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)
        for part in message.walk():
            assert not part.defects
        found.append(message)
    assert len(found) == len(mailbox.Maildir(maildir))
    return found


def recipients_of(maildir: Path) -> Counter[str]:
    """Return how many messages each envelope recipient got."""
    return Counter(message["Delivered-To"] for message in messages(maildir))
