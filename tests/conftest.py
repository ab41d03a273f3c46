"""Fixtures for every test.

`nats_server` and `redis_server` are real servers on free loopback ports, one pair per test, gone afterwards. Each has
`.url` (with its password), `.port`, `.pid`, and three coroutines: `await server.kill()` (SIGKILL), `await
server.stop()` (SIGTERM), `await server.restart()` (the same port and the same data). Synchronous tests may use `.url`.

`stack` is the whole system as child processes, up and ready; `start_stack(**options)` starts one with options of
`cordum.embedded.stack.Options`, such as `service_env={"gateway": {...}}` or `replicas={"scheduler": 2}`. Both take some
seconds; `module_stack` is one for all tests of a module, which say `pytestmark =
pytest.mark.asyncio(loop_scope="module")` when they kill or restart parts of it.

`event_loop_guard` fails a test in which code of `cordum` blocks the event loop.
"""

import contextlib
import fcntl
import gc
import itertools
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from cordum.embedded import ports
from cordum.embedded.datadir import DataDir
from cordum.embedded.servers import Server
from cordum.embedded.stack import Options, Stack

NO_RATE_LIMITS = {
    "API_RATE_LIMIT_RPS": "100000",
    "API_RATE_LIMIT_BURST": "100000",
    "API_PUBLIC_RATE_LIMIT_RPS": "100000",
    "API_PUBLIC_RATE_LIMIT_BURST": "100000",
}


@pytest.fixture(autouse=True)
def event_loop_guard() -> Iterator[BlockBuster]:
    """Fails a test in which a function of `cordum` blocks the event loop.

    A test that must allow a blocking call of start-up code says so, naming file and function:
    `event_loop_guard.functions["os.stat"].can_block_in("cordum/x.py", "load")`.
    """
    guard = BlockBuster(scanned_modules="cordum", excluded_modules=["cordum.embedded"])
    collecting = False

    def note_collection(phase: str, _info: dict[str, int]) -> None:
        nonlocal collecting
        collecting = phase == "start"

    # A collection runs wherever it comes due; what a finaliser of a library waits for there is nobody's call.
    for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
        function = guard.functions[name]
        may_wait = function.can_block_predicate
        function.can_block_predicate = lambda *args, may_wait=may_wait, **kwargs: (
            collecting or may_wait(*args, **kwargs)
        )
    gc.callbacks.append(note_collection)
    guard.activate()
    try:
        yield guard
    finally:
        guard.deactivate()
        gc.callbacks.remove(note_collection)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a port nobody listens on: `free_port()`."""
    return ports.free_port


@pytest_asyncio.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A real nats-server with JetStream in its own directory."""
    server = Server("nats", tmp_path / "nats", password=secrets.token_hex(16))
    await server.start()
    yield server
    await server.aclose()


@pytest_asyncio.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A real Valkey or Redis with an append-only file in its own directory."""
    server = Server("redis", tmp_path / "redis", password=secrets.token_hex(16))
    await server.start()
    yield server
    await server.aclose()


StartStack = Callable[..., Awaitable[Stack]]


@contextlib.asynccontextmanager
async def stacks(directory: Path) -> AsyncIterator[StartStack]:
    """Starts stacks below `directory` and ends them all, whatever happened."""
    numbers = itertools.count(1)
    async with contextlib.AsyncExitStack() as started:

        async def start(**options: Any) -> Stack:
            data = DataDir(directory / f"stack-{next(numbers)}")
            return await started.enter_async_context(Stack(data, Options(**{"default_ports": False, **options})))

        yield start


@pytest_asyncio.fixture
async def start_stack(tmp_path: Path) -> AsyncIterator[StartStack]:
    """Starts stacks with options."""
    async with stacks(tmp_path / "stacks") as start:
        yield start


@pytest_asyncio.fixture
async def stack(start_stack: StartStack) -> Stack:
    """A stack of its own for one test."""
    return await start_stack()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack shared by the tests of a module; rate limits are out of the way."""
    async with stacks(tmp_path_factory.mktemp("stacks")) as start:
        yield await start(service_env={"gateway": NO_RATE_LIMITS})


SEED_RESULTS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEED_RESULTS] = {}
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.keep_to_share(int(worker.removeprefix("gw")), workers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers how the tests ended that prove a statement (see tools/statements.py)."""
    outcome = yield
    if item.get_closest_marker("seed") is not None:
        results = item.config.stash[SEED_RESULTS]
        # A test has passed when its call did and neither its set-up nor its clean-up failed.
        if outcome.when == "call" or outcome.outcome != "passed":
            results[item.nodeid] = outcome.outcome
    return outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Adds what this run saw to what earlier runs saw, for `make statements`."""
    results = session.config.stash[SEED_RESULTS]
    if not results:
        return
    path = session.config.rootpath / ".pytest_cache" / "cordum-seed.json"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the processes of a parallel run end at about the same time
        file.seek(0)
        try:
            known = json.load(file)
        except json.JSONDecodeError:
            known = {}
        file.truncate(0)
        file.write(json.dumps({**known, **results}, indent=0, sort_keys=True))


LONGEST_ID = 40


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes and long texts do not name a test: keys and signatures are other ones in each process of a parallel run."""
    return argname if isinstance(val, bytes) or (isinstance(val, str) and len(val) > LONGEST_ID) else None
