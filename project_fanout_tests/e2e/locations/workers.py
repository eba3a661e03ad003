"""A code location with a fan-out whose units tell what their worker has imported."""

import dagster as dg

from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.e2e.locations.imports import imported, two_records

worker_imports = build_fanout_asset("worker_imports", records=two_records, stages=[imported])
workers_job = dg.define_asset_job("workers_job", [worker_imports])

defs = dg.Definitions([worker_imports], jobs=[workers_job])
