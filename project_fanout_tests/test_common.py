"""What several rooms share: whole files, waits that grow, texts of one line."""

import os
import resource
from pathlib import Path

import pytest

from project_fanout.common import backoff_s, one_line, replace_file


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A file appears under its name with all of its content, and nothing is left beside it."""
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file"]


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The permissions asked for are those of the file from its first byte on."""
    replace_file(tmp_path / "file", b"", mode=0o600, durable=False)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the disk is full the old file stays, and no part of the new one."""
    path = tmp_path / "file"
    replace_file(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            replace_file(path, b"x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


def test_waits_grow() -> None:
    """Each wait is twice the one before, within a half, up to the longest."""
    for attempt, seconds in ((1, 0.25), (2, 0.5), (5, 4.0), (7, 15.0), (5000, 15.0)):
        for _ in range(50):
            assert 0.5 * seconds <= backoff_s(attempt, 0.25, 15.0) <= 1.5 * seconds


def test_one_line_says_where_it_is_cut() -> None:
    """Line breaks become spaces, and a text that is too long ends with an ellipsis."""
    assert one_line(" a\n\tb ", 3) == "a b"
    assert one_line("a\nbcd", 4) == "a b…"
