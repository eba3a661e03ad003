"""Fetching a file over http or https, from allowed hosts and within limits."""

import functools
import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any
from urllib.parse import SplitResult, quote, urlsplit

from annotated_types import Ge, Gt

from project_fanout.engine.errors import FanoutError

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing only since Python 3.11

_PORTS = {"http": 80, "https": 443}
SCHEMES = tuple(_PORTS)
_CHUNK = 64 * 1024
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class FileLocationError(FanoutError):
    """A file cannot be had from where it is said to be; the message names the location and the reason."""


@dataclass(frozen=True)
class RemoteFiles:
    """Which files image tasks may fetch over http and https; by default none."""

    allowed_hosts: Annotated[
        tuple[str, ...],
        "Hosts to fetch from: `host` for the scheme's own port, `host:port` for another.",
    ] = ()
    max_bytes: Annotated[int, "Size of the largest file.", Ge(1)] = 50 * 1024 * 1024
    timeout_s: Annotated[float, "Seconds for all of one file.", Gt(0)] = 30.0

    def allows(self, parts: SplitResult) -> bool:
        """Tell whether the host and port of a URL are among the allowed."""
        host = parts.hostname or ""
        name = f"[{host}]" if ":" in host else host
        default = _PORTS[parts.scheme]
        names = {f"{name}:{parts.port or default}"}
        if parts.port in (None, default):
            names.add(name)
        return not names.isdisjoint(each.lower() for each in self.allowed_hosts)


def fetch(url: str, remote: RemoteFiles, target: Path) -> None:
    """Write what is at an http or https *url* to *target*.

    Goes through the proxy that the environment names (`https_proxy` and so on).

    Raises:
        FileLocationError: the host is not allowed, it redirects to another host, it does not answer with
            the file, or the file is too large or too slow.
    """
    parts = _check(url, remote)
    deadline = _Deadline(time.monotonic() + remote.timeout_s)
    try:
        with (
            deadline,
            _opener(remote, deadline).open(_in_ascii(url, parts), timeout=remote.timeout_s) as response,
        ):
            if response.status != http.HTTPStatus.OK:
                # A part of a file, or none: each of them reads like a whole one.
                raise FileLocationError(
                    f"{url!r} was answered with {response.status} {response.reason}, accepted: 200."
                )
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and int(length) > remote.max_bytes:
                raise FileLocationError(_too_large(url, remote, f"{int(length):,}"))
            size = _copy(response, url, remote, target)
            if deadline.passed:
                # A connection that was shut down reads like a file that has come to its end.
                raise FileLocationError(_too_slow(url, remote))
            if length.isdigit() and size < int(length):
                raise FileLocationError(f"{url!r} ended after {size:,} of {int(length):,} bytes.")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        if deadline.passed or isinstance(error, TimeoutError):
            raise FileLocationError(_too_slow(url, remote)) from None
        reason = getattr(error, "reason", None) or error
        raise FileLocationError(f"{url!r} cannot be fetched: {_without_credentials(str(reason))}.") from None


def _copy(response: Any, url: str, remote: RemoteFiles, target: Path) -> int:
    size = 0
    with target.open("wb") as file:
        while chunk := response.read1(_CHUNK):
            size += len(chunk)
            if size > remote.max_bytes:
                raise FileLocationError(_too_large(url, remote, "more"))
            file.write(chunk)
    return size


def _too_large(url: str, remote: RemoteFiles, size: str) -> str:
    return f"{url!r} is {size} bytes, and max_bytes is {remote.max_bytes:,}."


def _too_slow(url: str, remote: RemoteFiles) -> str:
    return f"{url!r} took longer than timeout_s, {remote.timeout_s:g} s."


def _without_credentials(text: str) -> str:
    """Return *text* without the user name and password of any URL in it."""
    return _CREDENTIALS.sub("//", text)


def _in_ascii(url: str, parts: SplitResult) -> str:
    """Return *url* as it is sent: other letters in path and query as the percent codes of their UTF-8."""
    if url.isascii():
        return url
    path, query = (_NOT_ASCII.sub(lambda match: quote(match[0]), each) for each in (parts.path, parts.query))
    return parts._replace(path=path, query=query).geturl()


def _check(url: str, remote: RemoteFiles) -> SplitResult:
    try:
        parts = urlsplit(url)
        allowed = parts.scheme in _PORTS and remote.allows(parts)
    except ValueError as error:
        raise FileLocationError(f"{_without_credentials(url)!r} is not a URL: {error}.") from None
    if parts.username is not None or parts.password is not None:
        raise FileLocationError(
            f"The location at {parts.hostname!r} holds a user name or password, which the run would keep."
        )
    if not allowed:
        hosts = ", ".join(remote.allowed_hosts) or "none"
        raise FileLocationError(
            f"{url!r} is at the host {parts.netloc!r}, accepted: {hosts}. Hosts are allowed by allowed_hosts "
            "of the resource remote_files."
        )
    return parts


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects that stay where they were allowed to go, at most five."""

    max_redirections = 5

    def __init__(self, remote: RemoteFiles) -> None:
        self._remote = remote

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            self._check_redirect(req.full_url, newurl)
        except FileLocationError:
            fp.close()  # urllib does so only where it follows
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def _check_redirect(self, url: str, new_url: str) -> None:
        old, new = urlsplit(url), urlsplit(new_url)
        if new.hostname != old.hostname or (old.scheme, new.scheme) == ("https", "http"):
            raise FileLocationError(
                f"{url!r} redirects to {_without_credentials(new_url)!r}: a redirect has to stay on the host, and on "
                "https."
            )
        _check(new_url, self._remote)


def _opener(remote: RemoteFiles, deadline: "_Deadline") -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone: urllib's own would also open file: and ftp: URLs."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Watched(deadline),
        _SameHost(remote),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "project_fanout"), ("Accept-Encoding", "identity")]
    return opener


@dataclass
class _Deadline:
    """Ends connections at a time: a socket's own timeout begins anew with every byte that trickles in."""

    at: float
    _sockets: list[socket.socket] = field(default_factory=list)
    _timer: threading.Timer | None = None
    passed: bool = False

    def __enter__(self) -> "Self":
        self._timer = threading.Timer(max(0.0, self.at - time.monotonic()), self._end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        self._sockets.append(connection)
        if self.passed:
            self._end()

    def _end(self) -> None:
        self.passed = True
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself


class _HttpConnection(http.client.HTTPConnection):
    def __init__(self, *args: Any, deadline: _Deadline, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self._deadline.watch(self.sock)


class _HttpsConnection(_HttpConnection, http.client.HTTPSConnection):
    """The same over TLS: what is watched is the socket that TLS has been put on."""


class _Watched(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https URLs by connections that end at the deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_HttpConnection, deadline=self._deadline), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_HttpsConnection, deadline=self._deadline), req)
