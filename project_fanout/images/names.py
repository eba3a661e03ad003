"""From any record key to one name that is safe as a folder and in a URL."""

import hashlib
import re

from anyascii import anyascii

_LONGEST = 60
_PLAIN = re.compile(rf"[a-z0-9](?:[a-z0-9._-]{{0,{_LONGEST - 2}}}[a-z0-9])?")
_UNSAFE = re.compile(r"[^a-z0-9._]+")


def safe_name(key: str) -> str:
    """Return a name for *key*: lower-case ASCII letters, digits and `._-~`, at most 73 characters.

    A key that is such a name already stays as it is. Any other is written in ASCII and followed by
    `~` and 12 digits of its SHA-256, so that keys which differ in case only, or only in what cannot
    be kept, get names of their own, also on a file system that ignores case. The name depends on
    the key alone: it stays the same when other records come and go.
    """
    if _PLAIN.fullmatch(key) and ".." not in key:
        return key
    readable = re.sub(r"\.\.+", ".", _UNSAFE.sub("-", anyascii(key).lower()))[:_LONGEST].strip("-._")
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return f"{readable}~{digest}" if readable else digest + "~"
