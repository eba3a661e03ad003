"""An S3 server of one's own on loopback, for tests: moto's, over HTTP, as boto3 talks to Amazon's.

What it needs is imported when it is used: that takes 1.5 s, and conftest.py imports this for every test.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dagster_aws.s3 import S3PickleIOManager


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of the server at *url*."""

    url: str
    name: str

    @property
    def access(self) -> dict[str, Any]:
        """What a client needs to reach the server; it takes any key."""
        return {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "aws_access_key_id": "anybody",
            "aws_secret_access_key": "anything",
        }

    def client(self) -> Any:
        import boto3

        return boto3.client("s3", **self.access)

    def create(self) -> "Bucket":
        self.client().create_bucket(Bucket=self.name)
        return self

    def io_manager(self) -> "S3PickleIOManager":
        """Return Dagster's IO manager for S3, which keeps everything in this bucket."""
        from dagster_aws.s3 import S3PickleIOManager, S3Resource

        return S3PickleIOManager(s3_resource=S3Resource(**self.access), s3_bucket=self.name)

    def contents(self) -> list[str]:
        """Return the keys of all objects, in order."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of one server for the whole session."""
    pytest.importorskip("moto", reason="moto is not installed: pip install '.[dev]'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> Bucket:
    """A new, empty bucket."""
    return Bucket(s3_server, f"bucket-{uuid.uuid4().hex}").create()
