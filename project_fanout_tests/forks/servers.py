"""Servers on this machine that answer as hosts on the network may."""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

Answer = Callable[[BaseHTTPRequestHandler], None]


def content(body: bytes, *, status: int = 200, **headers: str) -> Answer:
    """An answer with *body*."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def redirect(to: str) -> Answer:
    """An answer that the file is elsewhere."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def endless(pause: threading.Event) -> Answer:
    """An answer of unknown length that goes on, a byte at a time, until *pause* is set."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not pause.wait(0.05):
            request.wfile.write(b"x")

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that hang up are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """The test output is no access log."""


@contextmanager
def _listening(handler: type[_Handler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve with *handler* on 127.0.0.1, in threads; give host:port."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve *answers* by path on 127.0.0.1; give host:port, and the list of paths that were asked for."""
    asked: list[str] = []

    class Handler(_Handler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path in answers:
                answers[self.path](self)
            else:
                self.send_error(404)

    with _listening(Handler, tls) as address:
        yield address, asked


@contextmanager
def tunnelling(to: str) -> Iterator[tuple[str, list[str]]]:
    """Be a proxy that takes every CONNECT to *to*; give host:port, and the list of targets asked for."""
    asked: list[str] = []

    class Handler(_Handler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            host, _, port = to.partition(":")
            with socket.create_connection((host, int(port))) as upstream:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: upstream, upstream: self.connection}
                while True:
                    for source in select.select(list(ends), [], [])[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        ends[source].sendall(data)

    with _listening(Handler) as address:
        yield address, asked


@contextmanager
def standing_in_for(host: str, answers: dict[str, Answer], folder: Path) -> Iterator[dict[str, str]]:
    """Be *host* over https, behind a proxy; give the environment in which a client believes it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    with serving(answers, context) as (server, _), tunnelling(server) as (proxy, _):
        yield {
            "https_proxy": f"http://{proxy}",
            "no_proxy": "",
            "SSL_CERT_FILE": str(folder / "authority.pem"),
        }
