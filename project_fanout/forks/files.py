"""Getting at a file by path or URL."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from project_fanout.forks.fetched import fetched
from project_fanout.forks.fetching import SCHEMES, FileLocationError, RemoteFiles

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def local_path(location: str) -> Path | None:
    """Return the path that *location* is, or that it is the `file:` URL of; None if it is an http(s) URL.

    Raises:
        FileLocationError: it is a URL of another kind, or a `file:` URL of another machine.
    """
    scheme = _SCHEME.match(location)
    if scheme is None:
        return Path(location).expanduser().absolute()
    kind = scheme[1].lower()
    if kind in SCHEMES:
        return None
    if kind != "file":
        raise FileLocationError(
            f"{location!r} is a location of the kind {kind!r}, accepted: a local path, a file: URL, http: "
            "and https: URLs of allowed hosts. Write ./ before a path that begins like a URL."
        )
    parts = urlsplit(location)
    if parts.netloc not in ("", "localhost"):
        raise FileLocationError(f"{location!r} is a file on {parts.netloc!r}, accepted: file:///path.")
    return Path(url2pathname(parts.path)).absolute()


@contextmanager
def opened_locally(location: str, remote: RemoteFiles) -> Iterator[Path]:
    """Give the path of the file at *location*; what had to be fetched may be gone afterwards.

    Raises:
        FileLocationError: *location* is not acceptable, or what is there cannot be fetched.
        RetryAfter: the server says when to come back.
    """
    path = local_path(location)
    if path is not None:
        yield path
        return
    with fetched(location, remote) as path:
        yield path
