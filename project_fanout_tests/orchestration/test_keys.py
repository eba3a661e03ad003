"""Mapping keys: any text becomes a name that Dagster takes, people can read, and no other text has."""

import json
import os
import re
import subprocess
import sys

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from project_fanout.orchestration.keys import MappingKeys, mapping_key

HOSTILE = [
    "class",
    "a.b-c d",
    "../x",
    "Отчёт за май",
    "📷",
    "photo.JPG",
    "photo.jpg",
    "photo_jpg",
    "Photo_jpg",
    "PHOTO_JPG",
    " ",
    "  ",
    "\n",
    "\0",
    "_",
    "__",
    "-",
    "a",
    "A",
    "a_",
    "_a",
    "type",
    "context",
    "123",
    "k" * 300,
    "k" * 301,
    "k" * 63,
    "k" * 64,
    "日本語",
    "\u00e9",
    "e\u0301",
]

any_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80) | st.sampled_from(HOSTILE)


def check(key: str) -> None:
    """Assert that Dagster, a file system and a cluster accept *key*."""
    assert re.fullmatch(r"[A-Za-z0-9_]{1,63}", key)
    assert dg.DynamicOutput(None, mapping_key=key).mapping_key == key


@given(st.lists(any_text, unique=True, min_size=2, max_size=30))
def test_every_text_has_a_legal_key_of_its_own(texts: list[str]) -> None:
    """Unique also where a file system does not tell capitals apart."""
    keys = [mapping_key(text) for text in texts]
    for key in keys:
        check(key)
    assert len({key.lower() for key in keys}) == len(texts)


@given(any_text)
def test_a_key_made_of_a_key_is_another_one(text: str) -> None:
    """A record may be named like the mapping key of another."""
    key = mapping_key(text)
    assert (mapping_key(key) == key) == (key == text)


@given(st.lists(st.lists(any_text, min_size=1, max_size=4).map(tuple), unique=True, min_size=2, max_size=12))
def test_the_steps_of_a_fan_out_have_keys_of_their_own(batches: list[tuple[str, ...]]) -> None:
    """Whether a step has one record or several; a record may be named like the mapping key of another."""
    own = MappingKeys()
    keys = [own.of(batch) for batch in batches]
    keys += [own.of([key]) for key in keys]
    for key in keys:
        check(key)
    assert len({key.lower() for key in keys}) == len(keys)


@pytest.mark.parametrize("key", ["chelsea", "Photo_0001", "IMG_2034", "_", "a_1a2b3c", "k" * 63, "2024_05"])
def test_a_record_key_that_dagster_accepts_is_the_mapping_key(key: str) -> None:
    """As it is, capitals included."""
    assert MappingKeys().of([key]) == key


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("photo 001.jpg", "photo_001_jpg_"),
        ("Отчёт за май", "otchet_za_may_"),
        ("class", "class_"),
        ("k" * 64, "k" * 56 + "_"),
        ("📷", "camera_"),
        ("  ", "key_"),
    ],
)
def test_any_other_keeps_as_much_of_itself_as_fits(key: str, start: str) -> None:
    """And six digits of a hash."""
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{6}", MappingKeys().of([key]))


def test_of_two_that_look_alike_the_second_is_told_apart() -> None:
    """Also where a file system does not tell capitals apart, and where the short hash is the same."""
    own = MappingKeys()
    assert own.of(["Photo"]) == "Photo"
    assert re.fullmatch("photo_[0-9a-f]{6}", own.of(["photo"]))
    first = own.of(["a b"])
    again = MappingKeys()
    assert again.of([first]) == first  # a record that is named like that
    assert re.fullmatch("a_b_[0-9a-f]{12}", again.of(["a b"]))


def test_the_keys_of_a_hundred_thousand_long_names_are_distinct() -> None:
    """Of which no more than the hash differs: six digits of it are the same for hundreds of them."""
    own = MappingKeys()
    keys = [own.of([f"{'a long name of a record ' * 4}{number}"]) for number in range(100_000)]
    assert len(set(keys)) == 100_000
    assert max(map(len, keys)) == 63


def test_the_hostile_ones_together() -> None:
    """Reserved words, paths, capitals, spaces, emoji, composed and decomposed letters."""
    keys = [mapping_key(text) for text in HOSTILE]
    for key in keys:
        check(key)
    assert len({key.lower() for key in keys}) == len(HOSTILE)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("alice", "alice"),
        ("a_b_1", "a_b_1"),
        ("a.b-c d", "a_b_c_d_"),
        ("../x", "x_"),
        ("Отчёт за май", "otchet_za_may_"),
        ("📷", "camera_"),
        ("photo.JPG", "photo_jpg_"),
        ("class", "class_"),
        ("日本語", "ribenyu_"),
        ("k" * 300, "k" * 50),
    ],
)
def test_a_key_can_be_read(text: str, start: str) -> None:
    """A person finds the record behind `process_record[key]`; a plain name stays as it is."""
    key = mapping_key(text)
    assert key.startswith(start)
    assert len(key) <= len(start) + 13


def test_a_batch_says_how_many_it_holds() -> None:
    """The first record, and the number of the others."""
    own = MappingKeys()
    assert re.fullmatch("alice_and_2_more_[0-9a-f]{6}", own.of(["alice", "bob", "carol"]))
    check(own.of(["k" * 300, "b"]))


def test_keys_do_not_depend_on_the_process() -> None:
    """A retried step finds its record again under any hash seed."""
    code = (
        "import json, sys; from project_fanout.orchestration.keys import *; t = json.load(sys.stdin);"
        "print(json.dumps([*map(mapping_key, t), MappingKeys().of(t)]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(HOSTILE),
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(run.stdout) == [*map(mapping_key, HOSTILE), MappingKeys().of(HOSTILE)]
