"""A TCP proxy in front of a PostgreSQL server that cuts a connection at a message of its choice."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Literal

#: When the client's message is lost: before it reaches the server; after, with the server's answer; it has reached
#: the server's machine and is delivered when the client has long gone; the server never hears of it, nor that the
#: client is gone.
Cut = Literal["before", "after", "late", "held"]
CUTS: tuple[Cut, ...] = ("before", "after", "late", "held")

_STARTUP = 196608
_LATE_S = 0.05


class CuttingProxy:
    """Forwards connections to *port* on loopback; use it as a context manager.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._left = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        #: Messages from clients since `cut_at` or `count`.
        self.messages = 0

    def __enter__(self) -> "CuttingProxy":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits for a socket goes on waiting when that is closed, and takes a connection of whoever
        # listens there next: the threads end first.
        _end(self._listener)
        self._threads[0].join()
        for each in self._open:
            _end(each)
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._open]:
            each.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def count(self) -> None:
        """Count messages from now on."""
        self.messages = 0

    def cut_at(self, message: int, how: Cut) -> None:
        """Cut the connection of a message, once: 0 is the next."""
        with self._lock:
            self.messages, self._left, self._cut = 0, message, how

    @property
    def has_cut(self) -> bool:
        """Whether the connection has been cut that `cut_at` has ordered."""
        return self._cut is None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # it has been shut down
            self._open.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                _end(client)  # the server is restarting
                continue
            self._open.append(server)
            answers = threading.Event()
            answers.set()
            self._start(self._to_client, server, client, answers)
            self._start(self._to_server, client, server, answers)

    def _to_server(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        try:
            for message in _messages(client):
                cut = self._take_cut()
                if cut is None:
                    server.sendall(message)
                    continue
                answers.clear()
                if cut == "after":
                    server.sendall(message)
                    return  # the other thread ends both when it has the answer
                _end(client)
                if cut == "late":
                    threading.Timer(_LATE_S, _send_late, (server, message)).start()
                elif cut == "before":
                    _end(server)
                return
        except OSError:
            pass
        _end(client)
        _end(server)

    def _take_cut(self) -> Cut | None:
        with self._lock:
            self.messages += 1
            if self._cut is None:
                return None
            self._left -= 1
            if self._left >= 0:
                return None
            cut, self._cut = self._cut, None
            return cut

    def _to_client(self, server: socket.socket, client: socket.socket, answers: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if not answers.is_set():
                    break
                client.sendall(data)
        except OSError:
            pass
        _end(client)
        _end(server)


def _messages(client: socket.socket) -> Iterator[bytes]:
    """Yield what a client sends, message by message, as PostgreSQL's protocol 3 cuts it."""
    with client.makefile("rb") as stream:
        code = 0
        while code != _STARTUP:  # others ask for encryption first
            head = stream.read(8)
            if len(head) < 8:
                return
            length, code = struct.unpack("!II", head)
            yield head + stream.read(length - 8)
        while head := stream.read(5):
            (length,) = struct.unpack("!I", head[1:])
            yield head + stream.read(length - 4)


def _send_late(server: socket.socket, message: bytes) -> None:
    try:
        server.sendall(message)
    except OSError:
        return  # the server has ended the connection


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has been ended already
