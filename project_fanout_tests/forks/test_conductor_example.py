"""Conductor's own example: JSON in as it is printed there, pictures out, opened and measured."""

import io
import os
import tempfile

import dagster as dg
import pytest
from PIL import Image

from project_fanout.forks.assets import RemoteFilesResource, dynamic_fork, image_fork
from project_fanout.forks.join import JoinFailedError
from project_fanout.images.catalog import shipped_photos
from project_fanout.orchestration import UnitPoolResource
from project_fanout.orchestration.run_config import InvalidRunConfigError
from project_fanout_tests.forks.conductor_example import (
    HOST,
    PATH,
    PICTURES,
    SIMPLE_TASKS,
    SUB_WORKFLOW_TASKS,
    TASKS_INPUT,
    WORKFLOW_INPUT,
    for_workflows,
    mended,
)
from project_fanout_tests.forks.servers import content, redirect, serving, standing_in_for

SIMPLE, WORKFLOW = "image_convert_resize_", "image_convert_resize_subworkflow_"


@pytest.fixture(scope="module", autouse=True)
def _the_hosts_answer(tmp_path_factory):
    """The example's URL leads to a real https server, with 900 x 600 pixels of a cat."""
    picture = io.BytesIO()
    with Image.open(shipped_photos() / "chelsea.png") as cat:
        cat.resize((900, 600)).save(picture, "png")
    answers = {PATH: content(picture.getvalue(), Content_Type="image/png")}
    with standing_in_for(HOST, answers, tmp_path_factory.mktemp("tls")) as environment:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        yield
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def forked(asset, config, tmp_path):
    """Materialise *asset* with the example's host allowed, and return its join."""
    name = asset.key.to_user_string()
    result = dg.materialize(
        [asset],
        resources={"remote_files": RemoteFilesResource(allowed_hosts=[HOST])},
        run_config={"ops": {name: {"config": {**config, "params": {"output_dir": str(tmp_path / "out")}}}}},
    )
    steps = [event.step_key for event in result.all_events if event.is_step_success]
    return result.output_for_node(name), steps


def check_pictures(join, prefix, folder):
    """The four references in order, each with a picture of the wanted format, 3:2 within the wanted size."""
    assert list(join) == [prefix + each for each in PICTURES]
    for name, side in PICTURES.items():
        task = join[prefix + name]
        assert task["status"] == "COMPLETED"
        with Image.open(task["output"]["path"]) as picture:
            picture.load()
            assert picture.format == {"png": "PNG", "jpg": "JPEG"}[name[:3]]
            assert picture.size == (side, side * 2 // 3)
            assert (task["output"]["width"], task["output"]["height"]) == picture.size
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        f"{prefix}{name}.{name[:3]}" for name in PICTURES
    }


def test_the_simple_tasks_of_the_example_run_as_printed(tmp_path):
    """The printed dynamicTasks and dynamicTasksInput go into the run config as the documentation prints them."""
    config = {**mended(SIMPLE_TASKS), **mended(TASKS_INPUT)}
    join, steps = forked(dynamic_fork, config, tmp_path)
    check_pictures(join, SIMPLE, tmp_path / "out")
    assert {f"dynamic_fork.record.process_record[{SIMPLE}{name}]" for name in PICTURES} < set(steps)


def test_the_sub_workflows_of_the_example_run_as_printed(tmp_path):
    """The same as sub-workflows: four chained stages each, under the references printed for them."""
    config = {
        **mended(SUB_WORKFLOW_TASKS),
        "dynamicTasksInput": for_workflows(mended(TASKS_INPUT)["dynamicTasksInput"]),
    }
    join, _ = forked(dynamic_fork, config, tmp_path)
    check_pictures(join, WORKFLOW, tmp_path / "out")
    assert list((tmp_path / "out" / ".work").iterdir()) == []


@pytest.mark.parametrize(("task", "prefix"), [({}, SIMPLE), ({"taskName": WORKFLOW[:-1]}, WORKFLOW)])
def test_the_input_of_the_workflow_makes_the_tasks(tmp_path, task, prefix):
    """The workflow input of the example, with "true" as text, gives its four references and pictures."""
    join, _ = forked(image_fork, {**mended(WORKFLOW_INPUT), **task}, tmp_path)
    check_pictures(join, prefix, tmp_path / "out")


def test_inputs_of_other_tasks_are_refused_before_anything_runs(tmp_path):
    """The inputs that the example prints are those of its simple tasks: no sub-workflow has one of them."""
    config = {**mended(SUB_WORKFLOW_TASKS), **mended(TASKS_INPUT)}
    with pytest.raises(InvalidRunConfigError) as refused:
        forked(dynamic_fork, config, tmp_path)
    lines = str(refused.value).splitlines()
    assert "2 problems" in lines[0]
    [stray] = [line for line in lines if "and no task has that taskReferenceName" in line]
    [without] = [line for line in lines if ": has no inputs" in line]
    for name in PICTURES:
        assert f"'{SIMPLE}{name}'" in stray
        assert f"('{WORKFLOW}{name}')" in without
    assert not (tmp_path / "out").exists()


def test_a_host_that_is_not_allowed_is_not_asked(tmp_path):
    """Without the resource's leave nothing is fetched: each task says which host it would have been."""
    with pytest.raises(JoinFailedError, match=r"'pbs\.twimg\.com', accepted: none") as failed:
        dg.materialize(
            [image_fork],
            run_config={
                "ops": {
                    "image_fork": {
                        "config": {**mended(WORKFLOW_INPUT), "params": {"output_dir": str(tmp_path / "out")}}
                    }
                }
            },
        )
    assert "4 of 4 required tasks did not complete" in str(failed.value)


@pytest.mark.parametrize("name", [SIMPLE[:-1], WORKFLOW[:-1]])
def test_the_picture_is_fetched_once_and_when_the_server_allows(tmp_path, monkeypatch, name):
    """The tasks of a fork, in processes of their own, share one answer of the server; a "not now" costs no attempt."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    picture = content((shipped_photos() / "chelsea.png").read_bytes())
    not_now = content(b"", status=429, Retry_After="1")
    asked = []
    with serving({"/moved": picture}) as (host, fetched):

        def answer(request):
            asked.append(request.path)
            (not_now if len(asked) == 1 else redirect(f"http://{host}/moved"))(request)

        with serving({"/a": answer}) as (other, _):
            config = {
                "fileLocation": f"http://{other}/a",
                "outputFormats": ["png", "jpg"],
                "outputSizes": [{"width": 30, "height": 30}, {"width": 20, "height": 20}],
                "taskName": name,
                "policy": {"max_attempts": 1},
                "params": {"output_dir": str(tmp_path / "out")},
            }
            result = dg.materialize(
                [image_fork],
                resources={
                    "unit_pool": UnitPoolResource(max_workers=2),
                    "remote_files": RemoteFilesResource(allowed_hosts=[host, other]),
                },
                run_config={"ops": {"image_fork": {"config": config}}},
            )
        join = result.output_for_node("image_fork")
    assert [task["status"] for task in join.values()] == ["COMPLETED"] * 4
    assert (asked, fetched) == (["/a", "/a"], ["/moved"])
    assert not list((tmp_path / "temporary").glob("project_fanout_fetched_*"))
