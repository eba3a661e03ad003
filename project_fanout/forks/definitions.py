"""The definitions of the dynamic forks."""

import dagster as dg

from project_fanout.forks.assets import REMOTE_FILES, RemoteFilesResource, dynamic_fork, image_fork

defs = dg.Definitions(
    assets=[dynamic_fork, image_fork],
    resources={REMOTE_FILES: RemoteFilesResource()},
)
