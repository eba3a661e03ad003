"""The assets of one list that is consumed twice, with different params."""

import dagster as dg

from project_fanout.forks.consume import consume, each_value
from project_fanout.orchestration import build_fanout_asset

GROUP = "extra_kwargs"


@dg.asset(group_name=GROUP, kinds={"python"})
def generate() -> list[int]:
    """The numbers 0 to 9."""
    return list(range(10))


c1 = build_fanout_asset(
    "c1",
    records=each_value,
    stages=[consume],
    ins={"generate": generate},
    params={"extra_param1": "hello world"},
    group_name=GROUP,
    kinds={"python"},
    description="What `generate` holds, consumed with the default of extra_param2, 42.",
)

c2 = build_fanout_asset(
    "c2",
    records=each_value,
    stages=[consume],
    ins={"generate": generate},
    params={"extra_param1": "hello world", "extra_param2": "123"},
    group_name=GROUP,
    kinds={"python"},
    description="What `generate` holds, consumed with another value of extra_param2, 123.",
)
