"""The fan-out of the fault tests as a code location."""

from project_fanout_tests.orchestration.fault_jobs import definitions

defs = definitions("fanout")
