"""Nothing that users rely on changes unseen."""

from project_fanout_tests.surface import SNAPSHOT, surface


def test_what_users_rely_on_is_as_it_was() -> None:
    """Names, signatures, run config, columns, errors, assets and commands change only with their snapshot."""
    assert surface() == SNAPSHOT.read_text(encoding="utf-8"), (
        "What users rely on has changed. If that is meant: python -m project_fanout_tests.surface, look at the "
        "diff of surface.txt, and tell users in CHANGELOG.md."
    )
