"""What is told of a campaign: every recipient once, and the counts."""

import xml.etree.ElementTree as ET  # parses our own picture
from typing import Any

import pandas as pd
import pytest

from project_fanout.campaigns import report
from project_fanout.campaigns.outcomes import COLUMNS, deliveries_table


def unit(key: str, status: str = "succeeded", stage: str = "send_email", **more: Any) -> dict[str, Any]:
    return {"record_key": "page_1", "unit_key": key, "stage": stage, "status": status, "error": None, **more}


UNITS = pd.DataFrame(
    [
        unit(
            "1-2",
            deliveries=[
                [1, "a@x.example", "sent", None, None, 100.0],
                [2, None, "refused", "no address", None, None],
            ],
        ),
        unit("3-4", "crashed", error="WorkerCrashed: it died"),
        unit("5-6", "timed_out", stage="prepare_email", error="TimeoutError"),
        unit(
            "7-8",
            deliveries=[
                [7, "b@x.example", "sent", None, None, 103.5],
                [8, "a@x.example", "duplicate", "same address", "as in row 1", None],
            ],
        ),
    ]
)


def test_a_batch_that_crashed_accounts_for_each_of_its_recipients() -> None:
    """Every row has one outcome; of a batch that was being sent when its worker died, nobody knows it."""
    table = deliveries_table(UNITS)
    assert table["row"].tolist() == list(range(1, 9))
    assert table["status"].tolist() == [
        "sent",
        "refused",
        *["unknown"] * 2,
        *["failed"] * 2,
        "sent",
        "duplicate",
    ]
    assert table["reason"].tolist()[2:6] == ["send_email crashed"] * 2 + ["prepare_email timed out"] * 2
    assert table["detail"][2] == "WorkerCrashed: it died"
    assert table["sent_at"][6] == pd.Timestamp(103.5, unit="s", tz="UTC")


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option is deprecated")
@pytest.mark.parametrize("infers_text", [False, True], ids=["as pandas 2", "as pandas 3"])
def test_deliveries_have_the_same_types_under_pandas_2_and_3(infers_text: bool) -> None:
    """Text is of type object, with None where there is none, and times are in nanoseconds."""
    with pd.option_context("future.infer_string", infers_text):
        table = deliveries_table(UNITS)
    types = {"row": "int64", "sent_at": "datetime64[ns, UTC]"}
    assert table.dtypes.to_dict() == {name: types.get(name, "object") for name in COLUMNS}
    assert table["address"].tolist()[:3] == ["a@x.example", None, None]


def test_the_report_counts_by_domain_and_reason() -> None:
    """The counts add up to the list, and the reasons are those of what was not sent."""
    deliveries = deliveries_table(UNITS)
    table = report.report_table(deliveries)
    assert report.totals(deliveries) == {"sent": 2, "refused": 1, "failed": 2, "unknown": 2, "duplicate": 1}
    assert table["recipients"].sum() == 8
    domains = report.by_domain(table).set_index("domain")
    assert domains.loc["x.example"].to_dict() == {
        "sent": 2,
        "refused": 0,
        "failed": 0,
        "unknown": 0,
        "duplicate": 1,
    }
    assert report.by_reason(table)["recipients"].tolist() == [2, 2, 1, 1]


def test_the_rate_is_drawn_over_time() -> None:
    """Messages a second, from the first to the last: one in the first second, none for two, one in the fourth."""
    points = report.rate_over_time(deliveries_table(UNITS))
    assert points == [(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0)]
    picture = ET.fromstring(report.rate_plot(points))  # noqa: S314  # our own picture
    line = picture.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == 4


def test_an_empty_campaign_has_a_report() -> None:
    """No recipient at all: empty tables and a picture, no error."""
    deliveries = deliveries_table(
        pd.DataFrame(columns=["record_key", "unit_key", "stage", "status", "error"])
    )
    assert deliveries.columns.tolist() == COLUMNS
    table = report.report_table(deliveries)
    assert report.by_domain(table).empty
    assert report.by_reason(table).empty
    assert report.rate_plot(report.rate_over_time(deliveries)).startswith("<svg")
