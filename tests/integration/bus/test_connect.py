"""Being let in, or being told why not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.natsd import natsd
from tests.support.tally import submit

from cordum.bus import Bus, BusError, BusRefusedError, BusSettingsError, BusUnavailableError, subjects
from cordum.bus.nkey import UserKey
from cordum.embedded.servers import Server
from cordum.runtime.settings import NatsSettings

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"


async def works(patience: float = 10.0, **fields: object) -> None:
    """Connects with these settings and publishes something."""
    bus = await Bus.connect(NatsSettings.model_validate(fields), patience=patience)
    try:
        await bus.ensure_streams()
        await submit(bus, 1)
    finally:
        await bus.aclose()


async def refusal(error: type[BusError], **fields: object) -> str:
    with pytest.raises(error) as caught:
        await works(patience=0.6, **fields)
    return caught.value.message


async def test_an_absent_server_is_named_without_its_credentials(free_port: Callable[[], int]) -> None:
    port = free_port()
    message = await refusal(BusUnavailableError, nats_url=f"nats://user:secret@127.0.0.1:{port}")
    assert f"nats://127.0.0.1:{port}" in message
    assert "secret" not in message


async def test_a_server_that_does_not_speak_nats_is_unavailable() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nothing\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        await refusal(BusUnavailableError, nats_url=f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_server_that_says_nothing_is_unavailable() -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    async with server:
        await refusal(BusUnavailableError, nats_url=f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_server_that_comes_late_is_waited_for(nats_server: Server) -> None:
    await nats_server.stop()
    connecting = asyncio.create_task(works(nats_url=nats_server.url))
    await asyncio.sleep(0.3)
    await nats_server.restart()
    await connecting


async def test_the_second_of_two_servers_will_do(nats_server: Server, free_port: Callable[[], int]) -> None:
    await works(nats_url=f"nats://127.0.0.1:{free_port()},{nats_server.url}")


async def test_wrong_credentials_are_refused_at_once(nats_server: Server) -> None:
    bare = f"nats://127.0.0.1:{nats_server.port}"
    async with asyncio.timeout(2):
        for url in (bare, f"nats://cordum:wrong@127.0.0.1:{nats_server.port}"):
            await refusal(BusRefusedError, nats_url=url)
        await refusal(BusRefusedError, nats_url=bare, nats_username="cordum", nats_password="wrong")
        await refusal(BusRefusedError, nats_url=bare, nats_token="t")


async def test_a_server_without_jetstream_is_told_apart(tmp_path: Path) -> None:
    async with natsd(tmp_path / "nats", "jetstream: false") as port:
        assert "without JetStream" in await refusal(BusUnavailableError, nats_url=f"nats://127.0.0.1:{port}")


async def test_a_token_lets_in(tmp_path: Path) -> None:
    async with natsd(tmp_path / "nats", "authorization { token: sesame }") as port:
        await works(nats_url=f"nats://127.0.0.1:{port}", nats_token="sesame")
        await refusal(BusRefusedError, nats_url=f"nats://127.0.0.1:{port}", nats_token="simsalabim")


async def test_an_nkey_lets_in(tmp_path: Path) -> None:
    users = f"authorization {{ users: [ {{ nkey: {UserKey(SEED).public} }} ] }}"
    async with natsd(tmp_path / "nats", users) as port:
        await works(nats_url=f"nats://127.0.0.1:{port}", nats_nkey=SEED)
        await refusal(BusRefusedError, nats_url=f"nats://127.0.0.1:{port}")
        await refusal(BusSettingsError, nats_url=f"nats://127.0.0.1:{port}", nats_nkey="SUnonsense")


def tls_config(authority: Authority, verify: str) -> str:
    cert, key = authority.issue("nats")
    return f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{authority.ca}", verify: {verify} }}'


@pytest.mark.seed("S24")
async def test_a_client_certificate_is_shown_where_one_is_wanted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("client")
    async with natsd(tmp_path / "nats", tls_config(authority, "true")) as port:
        url = f"tls://127.0.0.1:{port}"
        await works(nats_url=url, nats_tls_ca=authority.ca, nats_tls_cert=cert, nats_tls_key=key)
        await refusal(BusUnavailableError, nats_url=url, nats_tls_ca=authority.ca)


@pytest.mark.seed("S24")
async def test_a_server_of_another_authority_or_name_is_not_trusted(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    async with natsd(tmp_path / "nats", tls_config(authority, "false")) as port:
        url = f"tls://127.0.0.1:{port}"
        await works(nats_url=url, nats_tls_ca=authority.ca)
        await works(nats_url=url, nats_tls_ca=authority.ca, nats_tls_server_name="nats")
        await works(nats_url=url, nats_tls_insecure=True)
        assert "certificate" in await refusal(BusUnavailableError, nats_url=url, nats_tls_ca=other.ca)
        await refusal(BusUnavailableError, nats_url=url, nats_tls_ca=authority.ca, nats_tls_server_name="wrong")


async def test_whoever_asks_for_tls_never_speaks_in_the_clear(nats_server: Server, tmp_path: Path) -> None:
    url = nats_server.url.replace("nats://", "tls://")
    message = await refusal(BusUnavailableError, nats_url=url, nats_tls_ca=Authority(tmp_path / "ca").ca)
    assert "offers no TLS" in message


async def test_tls_is_used_where_the_server_leaves_the_choice(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with natsd(tmp_path / "nats", tls_config(authority, "false") + "\nallow_non_tls: true") as port:
        await works(nats_url=f"tls://127.0.0.1:{port}", nats_tls_ca=authority.ca)
        await refusal(
            BusUnavailableError, nats_url=f"tls://127.0.0.1:{port}", nats_tls_ca=Authority(tmp_path / "other").ca
        )


async def test_the_connection_bears_its_name(nats_server: Server) -> None:
    bus = await Bus.connect(NatsSettings.model_validate({"nats_url": nats_server.url}))
    assert bus._wire.options["name"] == "cordum-bus"
    await bus.ping()
    await bus.aclose()


async def test_no_word_from_the_server_is_no_sign_of_life(nats_server: Server) -> None:
    bus = await Bus.connect(NatsSettings.model_validate({"nats_url": nats_server.url}))
    await nats_server.kill()
    with pytest.raises(BusUnavailableError):
        await bus.ping(timeout=0.5)
    await bus.aclose(grace=0)


async def test_closing_while_the_server_is_gone_ends(nats_server: Server) -> None:
    bus = await Bus.connect(NatsSettings.model_validate({"nats_url": nats_server.url}))
    await bus.ensure_streams()

    async def ignore(_message: object) -> None: ...

    await bus.subscribe(subjects.HEARTBEAT, ignore)
    await nats_server.kill()
    async with asyncio.timeout(5):
        await bus.aclose(grace=0.5)
