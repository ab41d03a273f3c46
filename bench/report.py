"""The table, the JSON and the Markdown page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from bench.goals import PASS, SHORT
from bench.procs import DRIVER
from bench.rows.row import Row
from bench.stats import Run, summarise

_ROUGH_CORES = 0.25  # above this, other programs took enough of the machine to say so
_BARE_ANSWER_US = 14.1
"""CPU of one bare uvicorn answer where the targets were set; the bench measures the same on its own machine."""
_PROCESSES = ("gateway", "kernel", "scheduler", "nats", "redis", DRIVER)


@dataclass(frozen=True)
class Result:
    """One row as measured; `trouble` says why when there are no runs."""

    row: Row
    runs: list[Run] = field(default_factory=list)
    trouble: str = ""
    left_out: bool = False

    @property
    def word(self) -> str:
        if self.runs:
            return self.row.goal.word(self.median)
        return "LEFT OUT" if self.left_out else "FAILED"

    @property
    def median(self) -> Run:
        return summarise(self.runs)

    def remarks(self) -> list[str]:
        """What a reader of the figure must know."""
        if not self.runs:
            return [self.trouble]
        run = self.median
        said = list(run.faults)
        if run.others > _ROUGH_CORES:
            said.append(f"rough: other programs kept {run.others:.1f} cores busy meanwhile")
        return said


@dataclass(frozen=True)
class Report:
    machine: Mapping[str, str]
    settings: Mapping[str, str]
    results: Sequence[Result]

    def short(self) -> list[Result]:
        return [result for result in self.results if result.word == SHORT]

    def failed(self) -> list[Result]:
        return [result for result in self.results if result.word == "FAILED"]


def show(report: Report, console: Console) -> None:
    console.print("  ".join(f"[dim]{name}[/] {value}" for name, value in report.machine.items()), highlight=False)
    table = Table(title="Cordum benchmark (median of the repeats)", title_justify="left")
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify, no_wrap=name not in ("target", "row"))  # type: ignore[arg-type]
    for result in report.results:
        cells = _cells(result)
        cells[2] = (
            f"[{'green' if result.word == PASS else 'red' if result.word in (SHORT, 'FAILED') else 'dim'}]{cells[2]}[/]"
        )
        table.add_row(*cells)
    console.print(table)
    costs = Table(title="CPU time per operation, microseconds", title_justify="left")
    names = _processes(report.results)
    for index, name in enumerate(["row", *names, "sum"]):
        costs.add_column(name, justify="left" if index == 0 else "right")
    for cells in _cost_rows(report.results, names):
        costs.add_row(*cells)
    if costs.rows:
        console.print(costs)
    for line in _remark_lines(report.results):
        console.print(f"  {line}", highlight=False, markup=False)


_COLUMNS = (
    ("row", "left"),
    ("figure", "right"),
    ("", "left"),
    ("target", "left"),
    ("p50 ms", "right"),
    ("p99 ms", "right"),
    ("reference", "left"),
)


def _cells(result: Result) -> list[str]:
    goal = result.row.goal
    if not result.runs:
        return [goal.title, "", result.word, goal.target(), "", "", goal.reference]
    run = result.median
    return [
        goal.title,
        goal.figure(run),
        result.word,
        goal.target(),
        _ms(run.p50_ms),
        _ms(run.p99_ms),
        goal.reference,
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _processes(results: Sequence[Result]) -> list[str]:
    seen = {name for result in results for run in result.runs for name in run.cpu_us}
    return [*(name for name in _PROCESSES if name in seen), *sorted(seen.difference(_PROCESSES))]


def _cost_rows(results: Sequence[Result], names: Sequence[str]) -> list[list[str]]:
    rows = []
    for result in results:
        cpu = result.median.cpu_us if result.runs else {}
        if cpu:
            rows.append(
                [
                    result.row.goal.title,
                    *(f"{cpu[name]:,.1f}" if name in cpu else "" for name in names),
                    f"{sum(cpu.values()):,.1f}",
                ]
            )
    return rows


def _remark_lines(results: Sequence[Result]) -> list[str]:
    return [f"{result.row.goal.key}: {remark}" for result in results for remark in result.remarks()]


def as_json(report: Report) -> str:
    """What `bench/out/results.json` holds: medians and every repeat."""
    return json.dumps(
        {
            "machine": dict(report.machine),
            "settings": dict(report.settings),
            "rows": [
                {
                    "key": result.row.goal.key,
                    "title": result.row.goal.title,
                    "unit": result.row.goal.unit,
                    "target": result.row.goal.target(),
                    "reference": result.row.goal.reference,
                    "word": result.word,
                    "note": result.row.note,
                    "remarks": result.remarks(),
                    "median": asdict(result.median) if result.runs else None,
                    "runs": [asdict(run) for run in result.runs],
                }
                for result in report.results
            ],
        },
        indent=2,
    )


def as_markdown(report: Report) -> str:
    """What `bench/RESULTS.md` holds."""
    lines = [
        "# Benchmark results",
        "",
        "Written by `make bench BENCH_ARGS=--write`; `docs/guides/benchmarks.md` explains the rows.",
        "",
    ]
    lines += ["## Machine", "", *(f"* {name}: {value}" for name, value in report.machine.items())]
    lines += [f"* {name}: {value}" for name, value in report.settings.items()]
    lines += [
        "",
        "Everything ran on this machine at the same time: driver, worker, servers and services.",
        "",
        "## Figures",
        "",
    ]
    lines += _markdown_table([name or "word" for name, _ in _COLUMNS], [_cells(result) for result in report.results])
    names = _processes(report.results)
    lines += [
        "",
        "`reference` is the known Go implementation on a machine of the same size.",
        "",
        "## CPU time per operation (us)",
        "",
    ]
    lines += _markdown_table(["row", *names, "sum"], _cost_rows(report.results, names))
    lines += _shortfall(report)
    lines += [
        "",
        "## Notes",
        "",
        *(f"* {result.row.goal.title}: {result.row.note}" for result in report.results if result.row.note),
    ]
    lines += [f"* {line}" for line in _remark_lines(report.results)]
    return "\n".join(lines) + "\n"


def _shortfall(report: Report) -> list[str]:
    """What is missed, and how much of it is the machine."""
    short = report.short()
    if not short:
        return []
    lines = ["", "## Where it falls short", ""]
    lines += [f"* {result.row.goal.title}: {' '.join(_cells(result)[1:2])}" for result in short]
    bare = [result for result in report.results if result.row.goal.key == "hello_http" and result.runs]
    if bare:
        cost = bare[0].median.cpu_us.get("baseline", 0.0)
        lines += [
            "",
            f"The targets were set on a machine where a bare uvicorn answer cost {_BARE_ANSWER_US} us of CPU. Here it"
            f" costs {cost:.0f} us, {cost / _BARE_ANSWER_US:.1f} times as much: one core of this machine does that much"
            " less. The first row is therefore the scale for all HTTP rows, the second for unary Check.",
        ]
    return lines


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]
