"""What kind of file system a path is on, for settings and messages that depend on it."""

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/mounts")
# Those that several machines or a host and its guests share: memory that is mapped there is not one memory for all, and
# locks may be missing. Others of FUSE are local, but nobody can tell by the name.
_SHARED = re.compile(
    r"9p|afs|beegfs|ceph|cifs|fakeowner|fuse(\..*)?|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs\d?|ocfs2|orangefs|osxfs|panfs"
    r"|prl_fs|pvfs2|smb\d?|smbfs|vboxsf|virtiofs|vmhgfs|wekafs"
)


class FileSystem(NamedTuple):
    """A mounted file system.

    Args:
        kind: its type, as in /proc/mounts.
        mount: the folder on which it is mounted.
    """

    kind: str
    mount: str

    def __str__(self) -> str:
        return f"{self.kind}, mounted on {self.mount}"

    @property
    def is_shared(self) -> bool:
        """Whether it may be a network's, or a host's that a guest sees."""
        return _SHARED.fullmatch(self.kind) is not None


def file_system(path: str | Path, mounts: str | None = None) -> FileSystem | None:
    """Return the file system that *path* is on, or would be; None where the system does not tell.

    Args:
        path: of a file or folder, which need not exist.
        mounts: the content of /proc/mounts; default: that of this machine.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    real = os.path.realpath(path)
    found = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks and the like are octal numbers there.
        mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        # What is mounted later on the same folder hides what was there.
        is_above = real == mount or real.startswith(mount.rstrip("/") + "/")
        if is_above and (found is None or len(mount) >= len(found.mount)):
            found = FileSystem(fields[2], mount)
    return found
