"""Settings are declared once: what is checked without pydantic is what pydantic would check, and all is described."""

import dataclasses
import math
from functools import cache
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter, ValidationError

from project_fanout.campaigns.settings import MailServer
from project_fanout.engine import FanoutPolicy, ProcessPool
from project_fanout.engine.annotations import description_of, plain_type
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.pools.ray import RayPool
from project_fanout.engine.settings import Bounds, check_settings, declared_settings
from project_fanout.forks.fetching import RemoteFiles

OWNERS = (FanoutPolicy, ProcessPool, RayPool)
SETTINGS = [
    (owner, name)
    for owner in OWNERS
    for name, kind in declared_settings(owner).items()
    if plain_type(kind) is not Any
]

NUMBERS = (
    st.sampled_from([-1, 0, 1, 0.0, 1.0, 19, 20, 100, 101, 3600, 3601, 2**63]) | st.integers() | st.floats()
)
VALUES = (
    NUMBERS
    | st.none()
    | st.booleans()
    | st.text(max_size=3)
    | st.sampled_from(["auto", "skip", "1", ["auto"], {}])
)


def adapter(annotation: Any) -> "TypeAdapter[Any]":
    """Return what checks values as pydantic does, and takes them as they are."""
    return TypeAdapter(annotation, config=ConfigDict(strict=True))


@cache
def adapter_of(owner: type, name: str) -> "TypeAdapter[Any]":
    """Return the `adapter` of a setting: making one takes longer than what it is made for."""
    return adapter(declared_settings(owner)[name])


def accepts(adapter: "TypeAdapter[Any]", value: Any) -> bool:
    """Tell whether pydantic takes *value* as it is."""
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("owner", "name"), SETTINGS, ids=lambda part: getattr(part, "__name__", part))
@given(value=VALUES)
def test_a_setting_is_what_its_declaration_says(owner: type, name: str, value: Any) -> None:
    """The policy and the pools take a value exactly if pydantic would, except that NaN is within no bounds."""
    if accepts(adapter_of(owner, name), value) and not (isinstance(value, float) and math.isnan(value)):
        check_settings(owner, {name: value})
        return
    with pytest.raises(FanoutDefinitionError) as error:
        check_settings(owner, {name: value})
    assert str(error.value).startswith(f"{owner.__name__}: {name} is {value!r}, accepted: ")


@given(
    ge=st.none() | st.integers(),
    gt=st.none() | st.integers(),
    le=st.none() | st.integers(),
    value=st.integers(),
)
def test_bounds_mean_the_same_to_pydantic(ge: int | None, gt: int | None, le: int | None, value: int) -> None:
    """A resource or a param that is declared with `Bounds` takes the same numbers."""
    bounds = Bounds(ge=ge, gt=gt, le=le)
    assert accepts(adapter(Annotated[int, "A number.", bounds]), value) == bounds.hold(value)


@pytest.mark.parametrize("owner", [*OWNERS, MailServer, RemoteFiles])
def test_every_setting_is_described(owner: type) -> None:
    """A setting without a text would be a riddle in the Launchpad and in the docs."""
    short = [name for name, kind in declared_settings(owner).items() if len(description_of(kind)) < 20]
    assert short == []


def test_settings_keep_their_defaults_within_their_bounds() -> None:
    """What is not set is acceptable too."""
    for owner in (FanoutPolicy, MailServer, RemoteFiles):
        defaults = {field.name: field.default for field in dataclasses.fields(owner)}
        for name, annotation in declared_settings(owner).items():
            assert accepts(adapter(annotation), defaults[name]), name
