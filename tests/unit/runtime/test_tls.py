import asyncio
import contextlib
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from cryptography import x509
from structlog.testing import capture_logs
from tests.support.certificates import Authority

from cordum.runtime import tls
from cordum.runtime.certificates import CertPair, TlsError, check_chain, load_pair
from cordum.runtime.clock import ManualClock


@asynccontextmanager
async def echo_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS server that sends back every line; yields its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Connection:
    """A client connection; knows which certificate it was shown."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.serial = x509.load_der_x509_certificate(shown).serial_number

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host))

    async def answers(self) -> bool:
        self._writer.write(b"hello\n")
        return await self._reader.readline() == b"hello\n"

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def waiting(clock: ManualClock) -> None:
    """Returns once somebody sleeps on the clock."""
    async with asyncio.timeout(5):
        while clock.sleepers == 0:  # noqa: ASYNC110  # a clock has no event to wait for
            await asyncio.sleep(0.001)


async def served(port: int, context: ssl.SSLContext) -> bool:
    """Whether a client gets an answer. In TLS 1.3 it learns only after its first bytes that it is not wanted."""
    try:
        connection = await Connection.open(port, context)
    except (ssl.SSLError, ConnectionError):
        return False
    try:
        return await connection.answers()
    except (ssl.SSLError, ConnectionError):
        return False
    finally:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await connection.close()


def cut_short(path: str) -> None:
    Path(path).write_bytes(content(path)[:200])


def content(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def serial_of(cert: str) -> int:
    return x509.load_pem_x509_certificate(content(cert)).serial_number


async def reloader_of(
    label: str, pair: tuple[str, str], on_reload: Callable[[CertPair], None], clock: ManualClock | None = None
) -> tls.CertReloader:
    return await asyncio.to_thread(tls.CertReloader, label, *pair, on_reload, clock or ManualClock())


async def swapping(cert: str, key: str) -> tls.SwappingContext:
    return await asyncio.to_thread(tls.SwappingContext, cert, key)


async def server_context(
    cert: str, key: str, client_ca: str = "", oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    return await asyncio.to_thread(tls.server_context, cert, key, client_ca, oldest)


async def client_context(ca: str = "", cert: str = "", key: str = "") -> ssl.SSLContext:
    return await asyncio.to_thread(tls.client_context, ca, cert, key)


@pytest.mark.seed("S41", "S42")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_new_connections_get_the_new_certificate_and_open_ones_go_on(host: str, authority: Authority) -> None:
    cert, key = authority.issue("server")
    context = await swapping(cert, key)
    reloader = await reloader_of("gateway-http", (cert, key), context.swap)
    client = await client_context(authority.ca)
    async with echo_server(context.context) as port:
        first = await Connection.open(port, client, host)
        assert first.serial == serial_of(cert)
        authority.issue("server")
        await reloader.poll()
        second = await Connection.open(port, client, host)
        assert second.serial == serial_of(cert) != first.serial
        assert await first.answers()
        assert await second.answers()
        await first.close()
        await second.close()


@pytest.mark.seed("S43")
@pytest.mark.parametrize("broken", ["half a file", "another key", "gone"])
async def test_a_pair_that_cannot_be_used_is_logged_and_the_old_one_stays(broken: str, authority: Authority) -> None:
    cert, key = authority.issue("server")
    before = serial_of(cert)
    context = await swapping(cert, key)
    reloader = await reloader_of("gateway-grpc", (cert, key), context.swap)
    if broken == "half a file":
        cut_short(cert)
    elif broken == "another key":
        _, other = authority.issue("other")
        shutil.copy(other, key)
    else:
        os.unlink(key)
    with capture_logs() as logs:
        await reloader.poll()
        await reloader.poll()
    (line,) = logs
    assert line["event"] == "certificate_reload_failed"
    assert line["label"] == "gateway-grpc"
    assert line["log_level"] == "error"
    async with echo_server(context.context) as port:
        connection = await Connection.open(port, await client_context(authority.ca))
        assert connection.serial == before
        await connection.close()
    authority.issue("server")
    await reloader.poll()
    assert reloader.pair.cert == content(cert), "once it is mended, it is taken"


@pytest.mark.seed("S43")
async def test_when_the_listener_cannot_take_a_pair_the_old_one_stays(authority: Authority) -> None:
    cert, key = authority.issue("server")

    def refuse(pair: CertPair) -> None:
        raise TlsError("no")

    reloader = await reloader_of("safety-kernel", (cert, key), refuse)
    before = reloader.pair
    authority.issue("server")
    await reloader.poll()
    assert reloader.pair is before


@pytest.mark.seed("S44")
async def test_a_symlink_swap_is_noticed(authority: Authority, tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        directory = tmp_path / version
        directory.mkdir()
        cert, key = authority.issue(version)
        shutil.move(cert, directory / "tls.crt")
        shutil.move(key, directory / "tls.key")
        for file in directory.iterdir():
            os.utime(file, (1_700_000_000, 1_700_000_000))
    data = tmp_path / "..data"
    data.symlink_to("v1")
    swapped: list[CertPair] = []
    reloader = await reloader_of("gateway-http", (str(data / "tls.crt"), str(data / "tls.key")), swapped.append)
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("v2")
    fresh.rename(data)
    await reloader.poll()
    assert len(swapped) == 1
    assert swapped[0].cert == content(tmp_path / "v2" / "tls.crt")


@pytest.mark.seed("S40", "S45")
async def test_the_files_are_looked_at_every_thirty_seconds(authority: Authority) -> None:
    cert, key = authority.issue("server")
    clock = ManualClock()
    seen: list[CertPair] = []
    with capture_logs() as logs:
        reloader = await reloader_of("gateway-http", (cert, key), seen.append, clock)
        watching = asyncio.create_task(reloader.watch())
        await waiting(clock)
        authority.issue("server")
        clock.advance(29.9)
        await asyncio.sleep(0)
        assert seen == []
        clock.advance(0.1)
        await waiting(clock)
    watching.cancel()
    assert [pair.cert for pair in seen] == [content(cert)]
    assert [(line["event"], line["label"]) for line in logs] == [
        ("certificate_loaded", "gateway-http"),
        ("certificate_reloaded", "gateway-http"),
    ]
    assert logs[1]["cert"] == cert


async def test_touching_the_files_without_changing_them_reloads_nothing(authority: Authority) -> None:
    cert, key = authority.issue("server")
    reloads: list[CertPair] = []
    reloader = await reloader_of("x", (cert, key), reloads.append)
    os.utime(cert)
    os.utime(key, (1, 1))
    await reloader.poll()
    assert reloads == []


async def test_a_client_certificate_is_demanded_where_a_ca_is_given(
    authority: Authority, another_authority: Callable[[], Authority]
) -> None:
    cert, key = authority.issue("server")
    context = await server_context(cert, key, client_ca=authority.ca)
    async with echo_server(context) as port:
        known = await Connection.open(port, await client_context(authority.ca, *authority.issue("client")))
        assert await known.answers()
        await known.close()
        for stranger in (
            await client_context(authority.ca),
            await client_context(authority.ca, *another_authority().issue("x")),
        ):
            assert not await served(port, stranger)


@pytest.mark.seed("S248")
async def test_an_older_tls_version_is_refused(authority: Authority) -> None:
    cert, key = authority.issue("server")
    context = await server_context(cert, key, oldest=ssl.TLSVersion.TLSv1_3)
    old = await client_context(authority.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with echo_server(context) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Connection.open(port, old)


async def test_a_server_of_another_ca_or_name_is_not_trusted(
    authority: Authority, another_authority: Callable[[], Authority]
) -> None:
    cert, key = authority.issue("server")
    async with echo_server(await server_context(cert, key)) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await Connection.open(port, await client_context(another_authority().ca))
        with pytest.raises(ssl.SSLCertVerificationError):
            await Connection.open(port, await client_context(authority.ca), "wrong.example")
        careless = await Connection.open(port, tls.trust_anyone(await client_context()), "wrong.example")
        await careless.close()


def test_bad_files_are_named(authority: Authority, tmp_path: Path, event_loop_guard: BlockBuster) -> None:
    cert, key = authority.issue("server")
    _, other = authority.issue("other")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for files, message in (
        (("/no/such", key), "/no/such: cannot be read: No such file or directory"),
        ((str(empty), key), f"{empty}: no certificate"),
        ((cert, str(empty)), f"{empty}: not a usable private key"),
        ((cert, cert), f"{cert}: not a usable private key"),
        ((cert, other), f"{other}: not the key of the certificate {cert}"),
    ):
        with pytest.raises(TlsError) as caught:
            tls.server_context(*files)
        assert message in caught.value.message
    with pytest.raises(TlsError, match="no certificate"):
        tls.server_context(cert, key, client_ca=str(empty))
    with pytest.raises(TlsError, match="no certificate"):
        tls.client_context(ca=str(empty))


def test_a_pair_does_not_show_its_key(authority: Authority) -> None:
    pair = load_pair(*authority.issue("server"))
    assert "PRIVATE" not in repr(pair)
    assert pair.expires_at > 0


def test_chains(authority: Authority, another_authority: Callable[[], Authority]) -> None:
    cert, _ = authority.issue("client")
    check_chain(cert, authority.ca)
    with pytest.raises(TlsError, match="not issued by the CA"):
        check_chain(cert, another_authority().ca)
