"""Prepared batches on disk: what a power cut and a full disk leave of them."""

import resource
from pathlib import Path

import pytest

from project_fanout.campaigns.recipients import build_list
from project_fanout.campaigns.sink import close_shared_sinks
from project_fanout.campaigns.stages import prepare_email, send_email
from project_fanout.engine import Unit
from project_fanout_tests.campaigns.servers import recipients_of


def test_a_batch_that_a_power_cut_has_emptied_is_prepared_again(tmp_path: Path) -> None:
    """A run that is resumed sends a batch whose file was cut short as if it were not there, and to everybody once."""
    page = Unit("1-20", {"recipients": build_list(tmp_path, generated=20).path})
    batches = prepare_email(page, output_dir=str(tmp_path), batch_size=10).units
    for batch, left in zip(batches, (0, 1000), strict=True):
        with open(batch.payload["spool"], "r+b") as file:
            file.truncate(left)
    sent = [send_email(batch, output_dir=str(tmp_path)) for batch in batches]
    close_shared_sinks()
    assert [status for each in sent for _, _, status, *_ in each["deliveries"]] == ["sent"] * 20
    assert recipients_of(tmp_path / "maildir") == {row[1]: 1 for each in sent for row in each["deliveries"]}
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_full_disk_keeps_no_part_of_a_batch(tmp_path: Path) -> None:
    """Where the letters do not fit, the page fails, and no part of them stays on the disk."""
    page = Unit("1-20", {"recipients": build_list(tmp_path, generated=20).path})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            prepare_email(page, output_dir=str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "spool").iterdir()) == []
