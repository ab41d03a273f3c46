"""The least an HTTP or gRPC server in Python can do: what this machine gives, to hold the other figures against.

`python -m bench.baseline http|grpc` serves on a free loopback port, prints it, and ends with its parent's pipe.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvicorn
import uvloop

from bench.lab import BenchError

METHOD = "/bench.Baseline/Echo"
_BODY = b'{"status":"healthy"}'
_START_S = 15.0
_Message = MutableMapping[str, Any]


@asynccontextmanager
async def server(kind: str) -> AsyncIterator[tuple[int, int]]:
    """(port, pid) of a running baseline server; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.baseline",
        kind,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchError(f"the baseline {kind} server did not start")
        yield int(line), process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _hello(
    scope: _Message, _receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        raise RuntimeError("http only")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


async def _serve_http() -> None:
    config = uvicorn.Config(_hello, host="127.0.0.1", port=0, lifespan="off", log_level="error", access_log=False)
    config.load()
    listener = config.bind_socket()
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve([listener])


async def _serve_grpc() -> None:
    async def echo(request: bytes, _context: object) -> bytes:
        return request

    running = grpc.aio.server()
    service, _, method = METHOD[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(echo)
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    print(port, flush=True)
    await running.wait_for_termination()


async def _until_orphaned(serve: Callable[[], Awaitable[None]]) -> None:
    """Serve until the parent's end of stdin closes, however the parent ends."""
    loop = asyncio.get_running_loop()
    orphaned = loop.run_in_executor(None, sys.stdin.buffer.read)
    await asyncio.wait([asyncio.ensure_future(serve()), orphaned], return_when=asyncio.FIRST_COMPLETED)


def main() -> None:
    serve = {"http": _serve_http, "grpc": _serve_grpc}[sys.argv[1]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_orphaned(serve))


if __name__ == "__main__":
    main()
