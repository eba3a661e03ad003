"""Fetching a file over http or https, from allowed hosts and within limits."""

import datetime as dt
import http.client
import re
import string
import time
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from annotated_types import Ge, Gt

from project_fanout.engine.errors import FanoutError, RetryAfter

_PORTS = {"http": 80, "https": 443}
SCHEMES = tuple(_PORTS)
_CHUNK = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_NOT_NOW = (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE)
_LONGEST_WAIT_S = 60 * 60
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class FileLocationError(FanoutError):
    """A file cannot be fetched from its location; the message names the location and the reason."""


@dataclass(frozen=True)
class RemoteFiles:
    """Which files image tasks may fetch over http and https; by default none."""

    allowed_hosts: Annotated[
        tuple[str, ...],
        "Hosts to fetch from: `host` for the scheme's own port, `host:port` for another.",
    ] = ()
    max_bytes: Annotated[int, "Size of the largest file.", Ge(1)] = 50 * 1024 * 1024
    timeout_s: Annotated[
        float,
        "Seconds for one file, checked with each piece that arrives; a silent server may take twice as long.",
        Gt(0),
    ] = 30.0
    keep_bytes: Annotated[
        int,
        "Most bytes of fetched files to keep on a machine until the join, for other tasks of the run that ask for the "
        "same URL; with 0 each task fetches its own.",
        Ge(0),
    ] = 500 * 1024 * 1024

    def allows(self, parts: SplitResult) -> bool:
        """Tell whether the host and port of a URL are among the allowed."""
        host = parts.hostname or ""
        name = f"[{host}]" if ":" in host else host
        default = _PORTS[parts.scheme]
        names = {f"{name}:{parts.port or default}"}
        if parts.port in (None, default):
            names.add(name)
        return not names.isdisjoint(allowed.lower() for allowed in self.allowed_hosts)


def fetch(url: str, remote: RemoteFiles, target: Path) -> None:
    """Write what is at an http or https *url* to *target*.

    Goes through the proxy that the environment names (`https_proxy` and so on). The time is checked whenever a piece
    of the file arrives, and is the limit for each wait on the network: a server that falls silent in the middle may
    take twice `timeout_s`, and one that trickles its headers longer. Only a unit's own deadline is exact.

    Raises:
        FileLocationError: the host is not allowed, it redirects to one that is not, it does not answer with
            the file, or the file is too large or too slow.
        RetryAfter: the server says when to come back.
    """
    give_up_at = time.monotonic() + remote.timeout_s
    try:
        with _opened(url, remote, give_up_at) as response:
            if (
                response.status in _NOT_NOW
                and (wait_s := _wait_s(response.headers.get("Retry-After"))) is not None
            ):
                raise _later(url, response, wait_s)
            if response.status != http.HTTPStatus.OK:
                # A part of a file, or none: each of them reads like a whole one.
                raise FileLocationError(
                    f"{url!r} was answered with {response.status} {response.reason}, accepted: 200."
                )
            _copy(response, url, remote, target, give_up_at)
    except TimeoutError:
        raise _too_slow(url, remote) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(reason := getattr(error, "reason", None), TimeoutError):
            raise _too_slow(url, remote) from None
        raise FileLocationError(
            f"{url!r} cannot be fetched: {_without_credentials(str(reason or error))}."
        ) from None


def _opened(url: str, remote: RemoteFiles, give_up_at: float) -> Any:
    """Return the response to *url*, after redirects between allowed hosts.

    The opener is for http and https alone: urllib's own would also open file: and ftp: URLs, and follow
    redirects to any host.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "project_fanout"), ("Accept-Encoding", "identity")]
    place = url
    for _ in range(_MOST_REDIRECTS + 1):
        ascii_url = _in_ascii(place, _check(place, remote))
        left_s = give_up_at - time.monotonic()
        if left_s <= 0:
            raise _too_slow(url, remote)
        response: Any = opener.open(ascii_url, timeout=left_s)
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or location is None:
            return response
        response.close()
        # Header lines are read as Latin-1, which keeps the bytes that the server has sent.
        target = urljoin(ascii_url, quote(location, safe=string.punctuation, encoding="iso-8859-1"))
        if refusal := _refusal(ascii_url, target, remote):
            raise FileLocationError(f"{place!r} redirects to {_without_credentials(target)!r}: {refusal}.")
        place = target
    raise FileLocationError(f"{url!r} redirects more than {_MOST_REDIRECTS} times.")


def _refusal(old: str, new: str, remote: RemoteFiles) -> str | None:
    """Return why a redirect from *old* to *new* is not followed, None if it is."""
    try:
        parts = urlsplit(new)
        allowed = parts.scheme in SCHEMES and remote.allows(parts)
    except ValueError:
        return None  # the same is said of it as of any location
    if not allowed or (urlsplit(old).scheme, parts.scheme) == ("https", "http"):
        return f"a redirect has to stay on allowed hosts ({', '.join(remote.allowed_hosts)}), and on https"
    return None


def _wait_s(retry_after: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, None if it asks for nothing that can be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Without a zone it means UTC, as all dates of HTTP are.
    at = at if at.tzinfo else at.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (at - dt.datetime.now(dt.timezone.utc)).total_seconds())


def _later(url: str, response: Any, wait_s: float) -> FanoutError:
    said = f"{url!r} was answered with {response.status} {response.reason}"
    if wait_s > _LONGEST_WAIT_S:
        return FileLocationError(
            f"{said} and asks for {wait_s:,.0f} s of patience, accepted: {_LONGEST_WAIT_S:,} s or less. Start "
            "the run again then."
        )
    return RetryAfter(wait_s, f"{said}, to be tried again after {wait_s:.0f} s.")


def _copy(response: Any, url: str, remote: RemoteFiles, target: Path, give_up_at: float) -> None:
    announced = response.headers.get("Content-Length", "")
    length = int(announced) if announced.isdigit() else None
    if length is not None and length > remote.max_bytes:
        raise _too_large(url, remote, f"{length:,}")
    size = 0
    with target.open("wb") as file:
        while chunk := response.read1(_CHUNK):
            if time.monotonic() > give_up_at:
                raise _too_slow(url, remote)
            size += len(chunk)
            if size > remote.max_bytes:
                raise _too_large(url, remote, "more")
            file.write(chunk)
    if length is not None and size < length:
        raise FileLocationError(f"{url!r} ended after {size:,} of {length:,} bytes.")


def _too_large(url: str, remote: RemoteFiles, size: str) -> FileLocationError:
    return FileLocationError(f"{url!r} is {size} bytes, and max_bytes is {remote.max_bytes:,}.")


def _too_slow(url: str, remote: RemoteFiles) -> FileLocationError:
    return FileLocationError(f"{url!r} took longer than timeout_s, {remote.timeout_s:g} s.")


def _without_credentials(text: str) -> str:
    """Return *text* without the user name and password of any URL in it."""
    return _CREDENTIALS.sub("//", text)


def _in_ascii(url: str, parts: SplitResult) -> str:
    """Return *url* as it is sent: other letters in path and query as the percent codes of their UTF-8."""
    if url.isascii():
        return url
    path, query = (_NOT_ASCII.sub(lambda match: quote(match[0]), part) for part in (parts.path, parts.query))
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
