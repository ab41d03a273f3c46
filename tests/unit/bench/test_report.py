import json

from bench.goals import Goal
from bench.lab import Effort, Lab
from bench.report import Report, Result, as_json, as_markdown, show
from bench.rows.row import Row
from bench.stats import Run
from rich.console import Console


async def _never(_lab: Lab, _effort: Effort) -> Run:
    raise AssertionError


def _row(key: str, **limits: float) -> Row:
    return Row(Goal(key, f"the {key}", "req/s", reference="5k/s", **limits), _never, note=f"about {key}")  # type: ignore[arg-type]


REPORT = Report(
    {"CPU": "a machine", "cores": "2"},
    {"repeats": "3"},
    [
        Result(_row("fast", at_least=10), [Run(20, 1.5, 4.25, {"gateway": 30.04, "driver": 10})]),
        Result(_row("slow", at_least=10), [Run(5, 1.5, 1234, others=1.0)]),
        Result(_row("broken"), trouble="no answer"),
        Result(_row("absent"), trouble="needs redis", left_out=True),
    ],
)


def test_each_row_ends_in_its_word() -> None:
    assert [result.word for result in REPORT.results] == ["PASS", "SHORT", "FAILED", "LEFT OUT"]
    assert [result.row.goal.key for result in REPORT.short()] == ["slow"]
    assert [result.row.goal.key for result in REPORT.failed()] == ["broken"]


def test_the_json_holds_medians_and_repeats() -> None:
    rows = json.loads(as_json(REPORT))["rows"]
    assert rows[0]["median"]["value"] == 20
    assert rows[0]["runs"][0]["cpu_us"] == {"gateway": 30.04, "driver": 10}
    assert rows[1]["remarks"] == ["rough: other programs kept 1.0 cores busy meanwhile"]
    assert rows[2]["median"] is None


def test_the_page_and_the_table_show_target_word_and_reference() -> None:
    page = as_markdown(REPORT)
    assert "| the fast | 20 req/s | PASS | >= 10 req/s | 1.50 | 4.25 | 5k/s |" in page
    assert "| the slow | 5 req/s | SHORT | >= 10 req/s | 1.50 | 1,234 | 5k/s |" in page
    assert "| the fast | 30.0 | 10.0 | 40.0 |" in page
    assert "* broken: no answer" in page
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as capture:
        show(REPORT, console)
    assert capture.get() == "" or "the fast" in capture.get()


def test_the_page_says_what_is_missed_and_how_slow_the_machine_is() -> None:
    bare = Result(_row("hello_http"), [Run(14_000, 1.0, 2.0, {"baseline": 28.2})])
    page = as_markdown(Report({}, {}, [bare, *REPORT.results]))
    missed = page[page.index("## Where it falls short") : page.index("## Notes")]
    assert "the slow: 5" in missed and "the fast" not in missed
    assert "28 us, 2.0 times as much" in missed
