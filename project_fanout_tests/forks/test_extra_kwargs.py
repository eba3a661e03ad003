"""Hera's example: one generated list, consumed twice with other extra parameters."""

import dagster as dg
import pytest

from project_fanout.definitions import defs
from project_fanout.forks.assets import c1, c2, generate
from project_fanout.images.assets import image_catalog, thumbnails, web_renditions
from project_fanout.images.warehouse import Warehouse
from project_fanout.orchestration import UnitPoolResource
from project_fanout.orchestration.run_config import InvalidRunConfigError
from project_fanout_tests.forks import jobs
from project_fanout_tests.forks.jobs import stored
from project_fanout_tests.instances import local_instance


def printed(extra_param2, extra_param1="hello world"):
    """What the source prints."""
    return [
        f"Received value={value}, extra_param1={extra_param1}, extra_param2={extra_param2}!"
        for value in range(10)
    ]


def run(config=None, **options):
    return dg.materialize_to_memory(
        [generate, c1, c2],
        resources={"unit_pool": UnitPoolResource(kind="inline")},
        run_config={"ops": config or {}},
        **options,
    )


def results(result):
    return [list(result.output_for_node(name)["result"]) for name in ("c1", "c2")]


def test_both_say_what_the_source_prints(tmp_path):
    """c1 has the default, 42; c2 its own value, "123" read as the number 123; each task logs its line."""
    with (
        local_instance(tmp_path) as instance,
        dg.execute_job(dg.build_reconstructable_job(jobs.__name__, "consumed_twice"), instance) as result,
    ):
        assert result.success
        assert [list(stored(instance, name)["result"]) for name in ("c1", "c2")] == [
            printed(42),
            printed(123),
        ]
        steps = {event.step_key for event in result.all_events if event.is_step_success}
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert {f"{name}.record.process_record[{value}]" for name in ("c1", "c2") for value in range(10)} < steps
    for line in printed(42) + printed(123):
        assert sum(line in message for message in logged) == 1


def test_params_per_run():
    """The Launchpad can set each of them for one run, beside the other asset's own."""
    config = {
        "c1": {"config": {"params": {"extra_param2": "7"}}},
        "c2": {"config": {"params": {"extra_param1": "bye"}}},
    }
    assert results(run(config)) == [printed(7), printed(123, "bye")]


def test_params_per_schedule():
    """A schedule sets them with its run config, which the asset reads like any other."""
    job = dg.define_asset_job("consume_job", selection=[generate, c1, c2])
    schedule = dg.ScheduleDefinition(
        name="every_night",
        job=job,
        cron_schedule="0 3 * * *",
        run_config={"ops": {"c1": {"config": {"params": {"extra_param2": "99"}}}}},
    )
    definitions = dg.Definitions(assets=[generate, c1, c2], jobs=[job], schedules=[schedule])
    with dg.DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(dg.build_schedule_context(instance))
        [request] = tick.run_requests
        result = definitions.resolve_job_def("consume_job").execute_in_process(run_config=request.run_config)
    assert results(result) == [printed(99), printed(123)]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"extra_param2": "many"}, "c1: config: params: extra_param2 is 'many', accepted: int"),
        ({"extra_param3": 1}, "extra_param3"),
    ],
)
def test_wrong_params_are_refused_before_anything_runs(params, said):
    """A value that is no number, or a param that nobody takes, is refused by name."""
    with pytest.raises((InvalidRunConfigError, dg.DagsterInvalidConfigError), match=said):
        run({"c1": {"config": {"params": params}}})


def test_both_run_at_once_in_one_pool(tmp_path):
    """Under fanout_executor the two fan-outs are at work at the same time, in the same worker processes.

    The first unit of each waits for the other's to begin: one after the other they would never end.
    """
    marks = {"config": {"params": {"folder": str(tmp_path)}}}
    with (
        local_instance(tmp_path / "instance") as instance,
        dg.execute_job(
            dg.build_reconstructable_job(jobs.__name__, "consumed_together"),
            instance,
            run_config={"ops": {"c1": marks, "c2": marks}},
        ) as result,
    ):
        assert result.success
        tables = [stored(instance, name) for name in ("c1", "c2")]
    assert [list(table["message"]) for table in tables] == [printed(42), printed(123)]
    first, second = tables
    assert max(first["began"].min(), second["began"].min()) < min(first["ended"].max(), second["ended"].max())
    assert set(first["pid"]) & set(second["pid"])
    assert len(set(first["pid"]) | set(second["pid"])) <= 2


def test_thumbnails_beside_the_web_renditions(tmp_path):
    """One catalogue feeds both: the same functions, another default, and an override for this run."""
    result = dg.materialize(
        [image_catalog, web_renditions, thumbnails],
        resources={"warehouse": Warehouse(database=str(tmp_path / "warehouse.duckdb"))},
        run_config={
            "ops": {
                "web_renditions": {
                    "config": {
                        "params": {"output_dir": str(tmp_path / "web"), "widths": [320], "formats": ["jpeg"]}
                    }
                },
                "thumbnails": {
                    "config": {"params": {"output_dir": str(tmp_path / "thumbs"), "formats": ["avif"]}}
                },
            }
        },
    )
    web, small = (result.output_for_node(name) for name in ("web_renditions", "thumbnails"))
    assert set(web["format"]) == {"jpeg"}
    assert set(web["width"]) == {320}
    assert set(small["format"]) == {"avif"}
    assert set(small["width"]) == {96, 192}
    assert set(web["record_key"]) == set(small["record_key"])
    assert {str(path) for path in (tmp_path / "thumbs").rglob("*") if path.is_file()} == set(small["path"])


def test_the_location_has_them_all():
    """The code location loads the assets of both examples side by side with the photographs."""
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert {"generate", "c1", "c2", "dynamic_fork", "image_fork", "thumbnails", "web_renditions"} <= keys
