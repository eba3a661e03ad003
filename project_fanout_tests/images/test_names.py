"""Names of files and folders derived from record keys."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project_fanout.images.names import safe_name

AWKWARD = [
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/b.jpg",
    "a.b-c d",
    "\u0424\u043e\u0442\u043e \u043d\u0430 \u043c\u043e\u0440\u0435.jpg",
    "x" * 300,
    "class",
    "🙂",
    "A.jpg",
]


@pytest.mark.parametrize("key", ["rocket.jpg", "hubble_deep_field.jpg", "a.b-c", "class", "7"])
def test_a_plain_file_name_is_kept(key):
    """A photograph's files are found under its own name."""
    assert safe_name(key) == key


@pytest.mark.parametrize(
    ("key", "begins"),
    [
        ("\u0424\u043e\u0442\u043e \u043d\u0430 \u043c\u043e\u0440\u0435.jpg", "foto-na-more.jpg~"),
        ("paris/Eiffel Tower.jpg", "paris-eiffel-tower.jpg~"),
        ("../x", "x~"),
    ],
)
def test_any_other_name_stays_readable(key, begins):
    """Cyrillic, spaces and folders become what a person can still recognise."""
    assert safe_name(key).startswith(begins)


@pytest.mark.parametrize(
    ("one", "other"), [("IMG.jpg", "img.jpg"), ("IMG.jpg", "Img.jpg"), ("a/b", "a b"), ("é.png", "è.png")]
)
def test_keys_that_differ_in_little_get_names_that_differ_on_any_file_system(one, other):
    """Keys that differ in case only, or in what a name cannot keep, do not overwrite each other's files."""
    assert safe_name(one).lower() != safe_name(other).lower()


@settings(deadline=None)  # the first call loads the tables of scripts
@given(st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(codec="utf-8"), min_size=1)))
def test_no_key_can_leave_its_folder(key):
    """Whatever the key, the name is one short part of a path and needs no escaping in a URL."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9._~-]{0,72}", safe_name(key))
    assert ".." not in safe_name(key)


def test_a_name_cannot_be_chosen_to_hit_another_keys():
    """A key that spells out another key's derived name gets a name of its own."""
    derived = safe_name("IMG.jpg")
    assert safe_name(derived) != derived
