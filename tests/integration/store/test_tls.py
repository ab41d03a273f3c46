"""TLS to Redis: the server's certificate is checked, a client certificate is shown, and renewed files are used.

The packaged server speaks no TLS, so a small terminator stands in front of it, as many managed services have one.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.store.conftest import Open, make_job
from tests.support.certificates import Authority

from cordum.embedded.servers import Server
from cordum.store import Store, StoreOptions, StoreSettingsError, StoreUnavailableError
from cordum.store.options import TLSFiles


@asynccontextmanager
async def terminator(target: Server, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Accepts TLS and passes what is inside to `target`; gives its port."""
    open_pipes: set[asyncio.Task[None]] = set()

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_client = await asyncio.open_connection("127.0.0.1", target.port)
        for pipe_task in (
            asyncio.ensure_future(pipe(reader, from_client)),
            asyncio.ensure_future(pipe(to_server, writer)),
        ):
            open_pipes.add(pipe_task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for pipe_task in open_pipes:
            pipe_task.cancel()
        await asyncio.gather(*open_pipes, return_exceptions=True)
        await server.wait_closed()


def serving(authority: Authority, name: str = "redis") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    context.load_cert_chain(*authority.issue(name))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def secure(redis_server: Server, port: int, tls: TLSFiles, server_name: str = "") -> StoreOptions:
    url = redis_server.url.replace("redis://", "rediss://").replace(f":{redis_server.port}/", f":{port}/")
    return StoreOptions(url=url, tls=tls, tls_server_name=server_name, operation_timeout=3.0)


def _spoil(path: str) -> None:
    Path(path).write_text("broken")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.seed("S6")
async def test_a_store_over_tls_works_with_certificates_on_both_sides(
    redis_server: Server, authority: Authority, opened: Open
) -> None:
    cert, key = authority.issue("client")
    async with terminator(redis_server, serving(authority)) as port:
        store = await opened(secure(redis_server, port, TLSFiles(ca=authority.ca, cert=cert, key=key)))
        job = make_job()
        await store.jobs.create(job)
        assert await store.jobs.get(job.record.id) == job.record


async def test_a_server_of_an_unknown_authority_is_refused(
    redis_server: Server, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other-ca")
    async with terminator(redis_server, serving(authority)) as port:
        with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
            await Store.connect(secure(redis_server, port, TLSFiles(ca=other.ca)))


async def test_a_server_of_another_name_is_refused(redis_server: Server, authority: Authority) -> None:
    cert, key = authority.issue("client")
    async with terminator(redis_server, serving(authority)) as port:
        files = TLSFiles(ca=authority.ca, cert=cert, key=key)
        with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
            await Store.connect(secure(redis_server, port, files, server_name="elsewhere"))


async def test_a_renewed_certificate_is_used_for_new_connections(
    redis_server: Server, authority: Authority, opened: Open
) -> None:
    cert, key = authority.issue("client")
    async with terminator(redis_server, serving(authority)) as port:
        store = await opened(secure(redis_server, port, TLSFiles(ca=authority.ca, cert=cert, key=key)))
        authority.issue("client")
        store.reload_tls()
        _spoil(cert)
        with pytest.raises(StoreSettingsError, match="REDIS_TLS"):
            store.reload_tls()
        await store.ping()


async def test_files_that_cannot_be_used_are_said_so(redis_server: Server) -> None:
    with pytest.raises(StoreSettingsError, match="REDIS_TLS"):
        await Store.connect(secure(redis_server, 1, TLSFiles(ca="/nowhere.crt")))
