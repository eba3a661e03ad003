"""Run config: the Launchpad shows every field, and what is wrong is refused before any unit runs."""

import dataclasses
import enum
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import dagster as dg
import pytest
from pydantic import BeforeValidator, FilePath

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.engine.annotations import accepted_words, description_of
from project_fanout.engine.errors import TooManyRecordsError
from project_fanout.engine.settings import declared_settings
from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.engine import runner_stages as stages
from project_fanout_tests.orchestration.support import materialize, table

Format = Literal["webp", "avif"]


@dataclasses.dataclass(frozen=True)
class Size:
    """A size in pixels."""

    width: int
    height: int = 1


def all_kinds(
    *,
    folder: str,
    marker: str = "a",
    width: Annotated[int, "Pixels of the longer side.", at.Interval(ge=1, le=9999)] = 640,
    quality: Annotated[float | None, at.Gt(0)] = None,
    kind: Format = "webp",
    kinds: list[Format] = ["webp"],  # noqa: B006  # what a user writes
    by_kind: dict[str, int] = {"webp": 80},  # noqa: B006  # the same
    crop: bool = False,
    where: Path = Path("out/put"),
    size: Size = Size(2),
    limit: int = None,  # type: ignore[assignment]  # noqa: RUF013  # the same
    anything={"a": [1]},  # type: ignore[no-untyped-def]  # noqa: B006  # the same
) -> list[Record]:
    """Return one record that tells what the params were."""
    got = [marker, width, quality, kind, kinds, by_kind, crop, str(where), size.width, limit, anything]
    return [Record("r", [Unit("u", repr(got))])]


def leave_mark(unit: Unit, *, folder: str) -> str:
    """Leave a file, and return the payload."""
    (Path(folder) / unit.key).touch()
    return str(unit.payload)


kinds_asset = build_fanout_asset("all_kinds", records=all_kinds, stages=[leave_mark])

DEFAULTS = ["a", 640, None, "webp", ["webp"], {"webp": 80}, False, "out/put", 2, None, {"a": [1]}]


def test_defaults_arrive_as_they_are(tmp_path: Path) -> None:
    """What is not set is what the function says."""
    assert table(kinds_asset, params={"folder": str(tmp_path)})["result"].tolist() == [repr(DEFAULTS)]


def test_values_arrive_as_the_functions_types(tmp_path: Path) -> None:
    """Text becomes numbers, booleans and paths; a mapping becomes a dataclass."""
    params = {
        "folder": str(tmp_path),
        "width": "123",
        "quality": "0.5",
        "kind": "avif",
        "kinds": ["avif", "webp"],
        "by_kind": {"avif": "60"},
        "crop": "true",
        "where": "else/where",
        "size": {"width": "7"},
        "limit": "5",
        "anything": None,
    }
    got = ["a", 123, 0.5, "avif", ["avif", "webp"], {"avif": 60}, True, "else/where", 7, 5, None]
    assert table(kinds_asset, params=params)["result"].tolist() == [repr(got)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": "12a"}, ["width", "'12a'", "int, 1 to 9999"]),
        ({"width": 0}, ["width", "0", "1 to 9999"]),
        ({"width": 10_000}, ["width", "10000", "1 to 9999"]),
        ({"width": None}, ["width", "None", "int"]),
        ({"quality": -1}, ["quality", "-1", "float | None, more than 0"]),
        ({"kind": "gif"}, ["kind", "gif", "webp", "avif"]),
        ({"kinds": "webp"}, ["kinds", "'webp'", "list"]),
        ({"kinds": ["webp", "gif"]}, ["kinds", "'gif'", "'webp' or 'avif'"]),
        ({"by_kind": ["webp"]}, ["by_kind", "['webp']", "dict[str, int]"]),
        ({"by_kind": {"webp": "much"}}, ["by_kind", "'much'", "dict[str, int]"]),
        ({"crop": "perhaps"}, ["crop", "'perhaps'", "bool"]),
        ({"marker": 5}, ["marker", "5", "String"]),
        ({"size": {"height": 5}}, ["size", "{'height': 5}", "Size", "width"]),
        ({"limit": "x"}, ["limit", "'x'", "int"]),
        ({"wdith": 5}, ["wdith", "width"]),
    ],
    ids=str,
)
def test_a_wrong_param_is_refused_before_any_unit(
    tmp_path: Path, wrong: dict[str, Any], said: list[str]
) -> None:
    """The error names the asset, the param, its value and what is accepted; no unit has run."""
    with pytest.raises(dg.DagsterError) as error:
        materialize(kinds_asset, params={"folder": str(tmp_path), **wrong})
    for text in ["all_kinds", "params", *said]:
        assert text in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_param_is_refused_before_any_unit() -> None:
    """By name, with the place where it belongs."""
    with pytest.raises(dg.DagsterError, match=r'"folder" at path root:ops:all_kinds:config:params'):
        materialize(kinds_asset, params={})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_workers": 0}, ["max_workers", "0", "1 or more"]),
        ({"max_attempts": 101}, ["max_attempts", "101", "1 to 100"]),
        ({"max_failed_ratio": 1.5}, ["max_failed_ratio", "1.5", "0 to 1"]),
        ({"unit_timeout_s": 0}, ["unit_timeout_s", "0", "more than 0"]),
        ({"strategy": "fast"}, ["strategy", "fast", "sequential", "parallel", "auto"]),
        ({"on_empty": "ignore"}, ["on_empty", "ignore", "succeed", "fail", "skip"]),
        ({"max_records": "many"}, ["max_records", "many", "Int"]),
        ({"records_per_stop": 2}, ["records_per_stop", "records_per_step"]),
    ],
    ids=str,
)
def test_a_wrong_policy_is_refused_before_any_unit(
    tmp_path: Path, wrong: dict[str, Any], said: list[str]
) -> None:
    """In the same way."""
    with pytest.raises(dg.DagsterError) as error:
        materialize(kinds_asset, params={"folder": str(tmp_path)}, policy=wrong)
    for text in ["all_kinds", "policy", *said]:
        assert text in str(error.value)
    assert not list(tmp_path.iterdir())


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Params and policy together."""
    with pytest.raises(dg.DagsterError) as error:
        materialize(
            kinds_asset,
            params={"folder": str(tmp_path), "width": "x", "crop": "maybe"},
            policy={"max_workers": 0},
        )
    assert all(text in str(error.value) for text in ("width is 'x'", "crop is 'maybe'", "max_workers is 0"))


def job_of(asset: dg.AssetsDefinition) -> dg.JobDefinition:
    """Return the job of *asset*, whose snapshot is all that the UI knows of it."""
    return dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()


def fields_of(asset: dg.AssetsDefinition) -> dict[str, dict[str, Any]]:
    """Return what the Launchpad gets to know of `params` and `policy`, by field."""
    job = job_of(asset)
    snapshot = job.get_job_snapshot().config_schema_snapshot

    def inner(key: str, name: str) -> str:
        (found,) = (field for field in snapshot.get_config_snap(key).fields if field.name == name)
        return found.type_key

    key = job.get_job_snapshot().mode_def_snaps[0].root_config_key
    for name in ("ops", asset.node_def.name, "config"):
        key = inner(key, name)
    return {
        part: {field.name: field for field in snapshot.get_config_snap(inner(key, part)).fields}
        for part in ("params", "policy")
    }


def test_the_launchpad_shows_every_param() -> None:
    """With description, bounds and default; only what has no default is required."""
    params = fields_of(kinds_asset)["params"]
    assert list(params) == sorted(params)
    described = {name: field.description for name, field in params.items()}
    assert described == {
        "folder": "Accepted: str.",
        "marker": 'Accepted: str. Default: "a".',
        "width": "Pixels of the longer side. Accepted: int, 1 to 9999. Default: 640.",
        "quality": "Accepted: float | None, more than 0. Default: null.",
        "kind": "Accepted: one of 'webp', 'avif'. Default: \"webp\".",
        "kinds": described["kinds"],
        "by_kind": 'Accepted: dict[str, int]. Default: {"webp": 80}.',
        "crop": "Accepted: bool. Default: false.",
        "where": 'Accepted: Path. Default: "out/put".',
        "size": 'Accepted: Size. Default: {"width": 2, "height": 1}.',
        "limit": described["limit"],
        "anything": 'Accepted: Any. Default: {"a": [1]}.',
    }
    assert "list[" in described["kinds"]
    assert "int" in described["limit"]
    assert [name for name, field in params.items() if field.is_required] == ["folder"]
    assert params["width"].default_value_as_json_str == "640"


@pytest.mark.parametrize(
    ("part", "types"),
    [
        (
            "params",
            {
                "folder": "String",
                "marker": "String",
                "width": "int",
                "quality": "float?",
                "kind": "webp | avif",
                "kinds": "list[one of 'webp', 'avif']",
                "by_kind": "dict[str, int]",
                "crop": "bool",
                "where": "pathlib.Path",
                "size": f"{__name__}.Size",
                "limit": "int?",
                "anything": "Any",
            },
        ),
        (
            "policy",
            {"max_workers": "Int?", "max_attempts": "Int", "fail_fast": "Bool", "unit_timeout_s": "Float?"},
        ),
    ],
)
def test_the_launchpad_shows_types(part: str, types: dict[str, str]) -> None:
    """Beside each name, as the editor of Dagster's UI writes them: a `?` after those that may be null."""
    snapshot = job_of(kinds_asset).get_job_snapshot().config_schema_snapshot

    def shown(key: str) -> str:
        found = snapshot.get_config_snap(key)
        return found.given_name or f"{shown(found.inner_type_key)}?"

    fields = fields_of(kinds_asset)[part]
    assert {name: shown(fields[name].type_key) for name in types} == types


def test_the_launchpad_shows_every_policy_field() -> None:
    """With description, bounds and the asset's own default; none is required."""
    policy = FanoutPolicy(max_workers=3, strategy="sequential")
    asset = build_fanout_asset("a", records=stages.some_records, stages=[stages.echo], policy=policy)
    shown = fields_of(asset)["policy"]
    assert set(shown) == {each.name for each in dataclasses.fields(FanoutPolicy)}
    for each in dataclasses.fields(FanoutPolicy):
        description = shown[each.name].description
        annotation = declared_settings(FanoutPolicy)[each.name]
        assert f"{description_of(annotation)} Accepted: {accepted_words(annotation)}." in description
        default = getattr(policy, each.name)
        assert ("Default: " if default is None else f"Default: {json.dumps(default)}.") in description
        assert not shown[each.name].is_required
    assert "int | None, 1 or more" in shown["max_workers"].description
    assert "int, 1 to 100" in shown["max_attempts"].description
    assert "one of 'sequential', 'parallel', 'auto'" in shown["strategy"].description


def test_fields_that_are_not_set_keep_the_assets_own_policy(tmp_path: Path) -> None:
    """A run that changes one field does not lose the others."""
    asset = build_fanout_asset(
        "kept",
        records=stages.some_records,
        stages=[stages.fail_first],
        policy=FanoutPolicy(max_attempts=2, retry_delay_s=0, max_records=3),
    )
    frame = table(asset, params={"folder": str(tmp_path)}, policy={"strategy": "sequential"})
    assert frame["attempts"].tolist() == [2] * 6
    with pytest.raises(TooManyRecordsError, match="There are 4 records, and max_records is 3"):
        materialize(asset, params={"folder": str(tmp_path), "count": 4})


class Colour(enum.Enum):
    """A colour, which two ops of a job take."""

    RED = "red"


def painted(*, colour: Colour = Colour.RED, shades: list[Colour] | None = None) -> list[Record]:
    """Return a record of that colour."""
    return [Record(colour.value, [Unit("u")])]


class PaintConfig(dg.Config):
    """The run config of another asset."""

    colour: Colour = Colour.RED


@dg.asset
def paint(config: PaintConfig) -> str:
    """The value of the colour."""
    return config.colour.value


def test_a_type_may_be_used_elsewhere_in_the_job() -> None:
    """Dagster names a type of its own like the class, and refuses a second type of that name."""
    asset = build_fanout_asset("painting", records=painted, stages=[stages.echo])
    job = dg.Definitions(assets=[asset, paint]).resolve_implicit_global_asset_job_def()
    assert dg.validate_run_config(job, {"ops": {"painting": {"config": {"params": {"colour": "red"}}}}})


def one_letter(unit: Unit, *, image_format: Literal["x", "y"] = "x") -> str:
    """Return the choice."""
    return image_format


def other_letter(unit: Unit, *, format: Literal["Any"] = "Any") -> str:  # noqa: A002  # what a user writes
    """Return the choice."""
    return format


@pytest.mark.parametrize(
    ("name", "param", "choice", "wrong"),
    [("web", "image_format", "y", "Any"), ("web_image", "format", "Any", "y")],
)
def test_choices_of_two_assets_do_not_mix(name: str, param: str, choice: str, wrong: str) -> None:
    """Also where `web` has `image_format` and `web_image` has `format`, in one job, and Dagster has an `Any`, too."""
    assets = [
        build_fanout_asset("web", records=stages.some_records, stages=[one_letter]),
        build_fanout_asset("web_image", records=stages.some_records, stages=[other_letter]),
    ]
    job = dg.Definitions(assets=assets).resolve_implicit_global_asset_job_def()

    def config(value: str) -> dict[str, Any]:
        return {"ops": {name: {"config": {"params": {param: value}}}}}

    assert dg.validate_run_config(job, config(choice))
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, config(wrong))
    types = job.get_job_snapshot().config_schema_snapshot.all_config_snaps_by_key
    assert {"x | y", "'Any'"} <= {each.given_name for each in types.values()}


_read: list[object] = []


def _note(value: object) -> object:
    _read.append(value)
    return value


Noted = Annotated[list[int], BeforeValidator(_note)]


def many_records(*, noted: Noted, count: int = 1) -> list[Record]:
    """Return *count* records, and change the param that the stages share."""
    noted.append(0)
    return [Record(f"r{number}", [Unit("u")]) for number in range(count)]


def sum_up(unit: Unit, *, noted: Noted) -> int:
    """Return the sum of the param."""
    return sum(noted)


def test_run_config_is_read_once_however_many_steps_there_are() -> None:
    """In a process, steps take what was read before the first of them; another run reads its own."""
    asset = build_fanout_asset("once", records=many_records, stages=[sum_up, stages.echo])
    frames, reads = [], []
    for noted, count in (["1", "2"], 1), (["1", "2"], 12), (["5"], 12):
        _read.clear()
        frames.append(table(asset, params={"noted": noted, "count": count})["result"].tolist())
        reads.append(len(_read))
        assert _read == [noted] * len(_read)
    assert frames == [[3], [3] * 12, [5] * 12]
    # As often as Dagster maps the run config of one run, which is before its first step.
    assert reads == [reads[0]] * 3


def test_each_run_reads_anew(tmp_path: Path) -> None:
    """A file that is gone is missed before any unit runs, although the same run config was right a moment ago."""
    asset = build_fanout_asset("files", records=records_of_file, stages=[stages.echo])
    file = tmp_path / "list"
    file.touch()
    assert len(table(asset, params={"file": str(file)})) == 1
    file.unlink()
    with pytest.raises(dg.DagsterError, match=r"file is .* accepted: "):
        materialize(asset, params={"file": str(file)})


def records_of_file(*, file: FilePath) -> list[Record]:
    """Return a record for the file."""
    return [Record(str(file), [Unit("u")])]
