"""What a campaign's report says: totals, tables by domain and reason, and the rate over time as a picture."""

from collections.abc import Sequence

import pandas as pd

#: Every status a recipient can end with, the best first.
STATUSES = ("sent", "refused", "failed", "unknown", "duplicate")

_WIDTH, _HEIGHT, _MARGIN = 640, 200, 40
_MOST_POINTS = 120


def totals(deliveries: pd.DataFrame) -> dict[str, int]:
    """Return how many recipients ended with each status, zeros included."""
    counted = deliveries["status"].value_counts()
    return {status: int(counted.get(status, 0)) for status in STATUSES}


def report_table(deliveries: pd.DataFrame) -> pd.DataFrame:
    """Return one row per domain, status and reason with its count, the most frequent first."""
    named = pd.DataFrame(
        {
            "domain": deliveries["domain"].fillna("(none)"),
            "status": deliveries["status"],
            "reason": deliveries["reason"].fillna(""),
        }
    )
    counted = named.value_counts(["domain", "status", "reason"]).reset_index(name="recipients")
    return counted.sort_values(
        ["recipients", "domain", "status", "reason"], ascending=[False, True, True, True], ignore_index=True
    )


def by_domain(report: pd.DataFrame) -> pd.DataFrame:
    """Return one row per domain with a column per status, the largest domain first."""
    if report.empty:
        return pd.DataFrame(columns=["domain", *STATUSES])
    table = report.pivot_table(
        index="domain", columns="status", values="recipients", aggfunc="sum", fill_value=0
    )
    table = table.reindex(columns=list(STATUSES), fill_value=0).astype("int64")
    ordered = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    return ordered.rename_axis(columns=None).reset_index()


def by_reason(report: pd.DataFrame) -> pd.DataFrame:
    """Return one row per status and reason of what was not sent now, the most frequent first."""
    problems = report[report["reason"] != ""]
    counted = problems.groupby(["status", "reason"])["recipients"].sum().reset_index()
    return counted.sort_values(
        ["recipients", "status", "reason"], ascending=[False, True, True], ignore_index=True
    )


def rate_over_time(deliveries: pd.DataFrame) -> list[tuple[float, float]]:
    """Return seconds since the first message and messages a second, in at most 120 equal spans of time."""
    times = deliveries["sent_at"].dropna().sort_values()
    if times.empty:
        return []
    seconds = (times - times.iloc[0]).dt.total_seconds()
    span = max(1.0, float(seconds.iloc[-1]) / _MOST_POINTS)
    counted = (seconds // span).astype("int64").value_counts()
    return [
        (index * span, float(counted.get(index, 0)) / span) for index in range(int(counted.index.max()) + 1)
    ]


def rate_plot(points: Sequence[tuple[float, float]]) -> str:
    """Return the rate over time as an SVG picture."""
    highest = max((rate for _, rate in points), default=0.0) or 1.0
    longest = (points[-1][0] if points else 0.0) or 1.0

    def at(seconds: float, rate: float) -> str:
        x = _MARGIN + seconds / longest * (_WIDTH - 2 * _MARGIN)
        y = _HEIGHT - _MARGIN - rate / highest * (_HEIGHT - 2 * _MARGIN)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(at(*point) for point in points)
    base = _HEIGHT - _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f'<text x="{_MARGIN}" y="20">messages a second</text>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 6}">{highest:,.0f}</text>'
        f'<path d="M{_MARGIN} {_MARGIN}V{base}H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>'
        f'<text x="{_WIDTH - _MARGIN}" y="{base + 18}" text-anchor="end">{longest:,.0f} s</text>'
        f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"/></svg>'
    )
