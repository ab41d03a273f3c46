"""`python -m bench`: options, the order of things, the exit code."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console

from bench import machine, own, report
from bench.lab import Addresses, BenchError, Effort, Lab, Workload
from bench.nats import NatsClient
from bench.redis_info import RedisInfo
from bench.rows import ALL
from bench.rows.row import Row
from bench.stats import Run

_HERE = Path(__file__).parent
_JSON = _HERE / "out" / "results.json"
_MARKDOWN = _HERE / "RESULTS.md"
_ROW_LIMIT_S = 600.0
_WIDTH = 132  # below this the table would break every cell; a pipe says 80


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Exits with 2 and one line when an option is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures a Cordum stack through its public interfaces. Without addresses it starts its own.",
    )
    keys = [row.goal.key for row in ALL]
    parser.add_argument("--only", default="", metavar="ROWS", help=f"comma-separated rows of: {', '.join(keys)}")
    parser.add_argument("--skip", default="", metavar="ROWS", help="comma-separated rows to leave out")
    parser.add_argument(
        "--repeat", type=_whole(1, 100), default=3, help="times each row is measured; the median counts (default 3)"
    )
    parser.add_argument("--seconds", type=_seconds, default=5.0, help="length of a timed repeat (default 5)")
    parser.add_argument(
        "--jobs", type=_whole(100, 1_000_000), default=5_000, help="jobs of a counted repeat (default 5000)"
    )
    parser.add_argument(
        "--json", type=Path, default=_JSON, metavar="FILE", help="where the JSON goes (default bench/out/results.json)"
    )
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md as well")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    stack = parser.add_argument_group("a stack that runs already (give what the rows need)")
    stack.add_argument("--http", default="", metavar="URL", help="the gateway, http://host:port")
    stack.add_argument("--grpc-kernel", default="", metavar="HOST:PORT", help="the safety kernel's gRPC")
    stack.add_argument("--nats", default="", metavar="URL", help="nats://user:password@host:port")
    stack.add_argument("--redis", default="", metavar="URL", help="redis://:password@host:port/0, asked for INFO only")
    stack.add_argument("--api-key", default="", help="an API key that may submit and read jobs")
    stack.add_argument(
        "--pid",
        action="append",
        default=[],
        type=_pid,
        metavar="NAME=PID",
        help="a local process to account CPU of; repeatable",
    )
    work = parser.add_argument_group("the jobs")
    work.add_argument("--topic", default=Workload.topic, help="routed to --pool, allowed by policy (default job.bench)")
    work.add_argument("--pool", default=Workload.pool, help="the bench worker's pool (default bench)")
    work.add_argument("--tenant", default=Workload.tenant, help="(default default)")
    work.add_argument(
        "--capacity",
        type=_whole(1, 100_000),
        default=Workload.capacity,
        help="max_parallel_jobs of the bench worker (default 512)",
    )
    options = parser.parse_args(arguments)
    only, skip = _split(options.only), _split(options.skip)
    unknown = [key for key in (*only, *skip) if key not in keys]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)} (rows: {', '.join(keys)})")
    options.rows = [row for row in ALL if (not only or row.goal.key in only) and row.goal.key not in skip]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every row ran (a missed target is a word in the table), 1 when one could not; --strict: or was SHORT."""
    options = parse(arguments)
    console = Console()
    console.width = max(console.width, _WIDTH)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_run(options, Console(stderr=True)))
    except (BenchError, OSError) as error:
        print(f"bench: {error or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    report.show(result, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(report.as_json(result))
    console.print(f"[dim]figures in {options.json}[/]", highlight=False)
    if options.write:
        _MARKDOWN.write_text(report.as_markdown(result))
        console.print(f"[dim]page in {_MARKDOWN}[/]", highlight=False)
    return 1 if result.failed() or (options.strict and result.short()) else 0


async def _run(options: argparse.Namespace, progress: Console) -> report.Report:
    workload = Workload(topic=options.topic, pool=options.pool, tenant=options.tenant, capacity=options.capacity)
    given = _given(options)
    async with AsyncExitStack() as cleanup:
        if given is None:
            progress.print("[dim]starting a stack of its own ...[/]", highlight=False)
            addresses = await cleanup.enter_async_context(own.stack(workload))
        else:
            addresses = given
        versions = await _server_versions(addresses)
        lab = Lab(addresses, workload)
        cleanup.push_async_callback(lab.aclose)
        effort = Effort(options.seconds, options.jobs)
        results = [await _measure(lab, row, effort, options.repeat, progress) for row in options.rows]
    settings = {
        "repeats": str(options.repeat),
        "timed rows": f"{options.seconds:g} s",
        "counted rows": f"{options.jobs:,} jobs",
        "stack": "started by the bench" if given is None else "given by address",
    }
    return report.Report(machine.describe(versions), settings, results)


async def _measure(lab: Lab, row: Row, effort: Effort, repeat: int, progress: Console) -> report.Result:
    missing = [need for need in row.needs if not getattr(lab.addresses, need)]
    if missing:
        return report.Result(row, trouble=f"needs {', '.join(missing)}", left_out=True)
    runs: list[Run] = []
    try:
        async with asyncio.timeout(_ROW_LIMIT_S):
            if row.warm:
                await row.measure(lab, effort.warm_up())
            for _ in range(repeat):
                runs.append(await row.measure(lab, effort))
                progress.print(f"[dim]{row.goal.key:16}[/] {row.goal.figure(runs[-1])}", highlight=False)
    except Exception as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, BenchError) else str(error)
        progress.print(f"[red]{row.goal.key}: {said}[/]", highlight=False)
        return report.Result(row, trouble=said)
    return report.Result(row, runs)


def _given(options: argparse.Namespace) -> Addresses | None:
    """The stack of the options; None when none of its addresses was given."""
    if not any((options.http, options.grpc_kernel, options.nats, options.redis)):
        return None
    pids: dict[str, list[int]] = {}
    for name, pid in options.pid:
        pids.setdefault(name, []).append(pid)
    return Addresses(
        http=options.http,
        kernel=options.grpc_kernel,
        nats=options.nats,
        redis=options.redis,
        api_key=options.api_key,
        pids=pids,
    )


async def _server_versions(addresses: Addresses) -> dict[str, str]:
    """As the servers say themselves; also the first proof that they can be reached."""
    versions: dict[str, str] = {}
    if addresses.nats:
        nats = await NatsClient.connect(addresses.nats, name="cordum-bench")
        versions["NATS"] = f"nats-server {nats.server_version}"
        nats.close()
    if addresses.redis:
        redis = RedisInfo(addresses.redis)
        try:
            versions["Redis"] = (await redis.counters()).version
        finally:
            await redis.aclose()
    return versions


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not within {least}..{most}")
        return value

    convert.__name__ = "whole number"
    return convert


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.2 <= value <= 300:
        raise argparse.ArgumentTypeError(f"{text} is not within 0.2..300 seconds")
    return value


def _pid(text: str) -> tuple[str, int]:
    name, _, pid = text.partition("=")
    if not name or not pid.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PID")
    return name, int(pid)
