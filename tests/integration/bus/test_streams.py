"""Making the streams, alone, together, and where there are some already."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.jetstream import comes_true, jetstream
from tests.support.natsd import natsd

from cordum.bus import Bus, BusError, StreamSetupError, subjects
from cordum.embedded.ports import free_port
from cordum.embedded.servers import Server
from cordum.runtime.settings import NatsSettings


async def ensure(url: str, **fields: object) -> None:
    bus = await Bus.connect(NatsSettings.model_validate({"nats_url": url} | fields))
    try:
        await bus.ensure_streams()
    finally:
        await bus.aclose()


@pytest.mark.seed("S208")
async def test_size_and_age_of_both_streams_come_from_the_settings(nats_server: Server) -> None:
    await ensure(nats_server.url)
    async with jetstream(nats_server.url) as js:
        for name in (subjects.STREAM_SYS, subjects.STREAM_JOBS):
            config = (await js.stream_info(name)).config
            assert (config.max_age, config.max_bytes, config.num_replicas) == (168 * 3600, -1, 1)
            assert (config.storage, config.retention, config.duplicate_window) == ("file", "limits", 120)
        await ensure(nats_server.url, nats_js_max_age=3600, nats_js_max_bytes=1_000_000)
        for name in (subjects.STREAM_SYS, subjects.STREAM_JOBS):
            config = (await js.stream_info(name)).config
            assert (config.max_age, config.max_bytes) == (3600, 1_000_000)


async def test_many_processes_may_make_them_at_once(nats_server: Server) -> None:
    await asyncio.gather(*(ensure(nats_server.url, nats_js_max_bytes=1_000_000 + n % 2) for n in range(12)))
    async with jetstream(nats_server.url) as js:
        assert sorted(info.config.name or "" for info in await js.streams_info()) == ["CORDUM_JOBS", "CORDUM_SYS"]


async def test_the_wide_stream_of_the_reference_is_narrowed_and_keeps_its_messages(nats_server: Server) -> None:
    async with jetstream(nats_server.url) as js:
        await js.add_stream(name=subjects.STREAM_SYS, subjects=["sys.>"], metadata={"owner": "ops"})
        await js.publish(subjects.JOB_SUBMIT, b"old")
        await ensure(nats_server.url)
        info = await js.stream_info(subjects.STREAM_SYS)
        assert info.config.subjects == list(subjects.SYS_SUBJECTS)
        assert info.state.messages == 1
        assert (info.config.metadata or {})["owner"] == "ops"


async def test_heartbeats_are_not_stored_and_requests_not_answered_by_the_stream(nats_server: Server) -> None:
    await ensure(nats_server.url)
    async with jetstream(nats_server.url) as js:
        for subject in subjects.TRANSIENT:
            await js._nc.publish(subject, b"now or never", reply="_INBOX.x")
        await js._nc.flush()
        assert (await js.stream_info(subjects.STREAM_SYS)).state.messages == 0


async def test_more_replicas_than_servers_is_an_error_that_says_so(nats_server: Server) -> None:
    with pytest.raises(StreamSetupError, match="replicas"):
        await ensure(nats_server.url, nats_js_replicas=3)


@pytest.mark.seed("S164")
async def test_in_a_cluster_both_streams_have_as_many_replicas_as_set(tmp_path: Path) -> None:
    routes = [free_port() for _ in range(3)]
    async with AsyncExitStack() as servers:
        ports = [
            await servers.enter_async_context(
                natsd(
                    tmp_path / f"n{number}",
                    f"server_name: n{number}\ncluster {{ name: c, listen: 127.0.0.1:{routes[number]}, "
                    f"routes: [{', '.join(f'nats://127.0.0.1:{port}' for port in routes)}] }}",
                )
            )
            for number in range(3)
        ]
        url = ",".join(f"nats://127.0.0.1:{port}" for port in ports)

        async def made() -> bool:
            try:
                await ensure(url, nats_js_replicas=3)
            except BusError:  # the cluster has yet to find itself
                return False
            return True

        await comes_true(made, "the cluster takes streams", within=30)
        async with jetstream(f"nats://127.0.0.1:{ports[0]}") as js:
            for name in (subjects.STREAM_SYS, subjects.STREAM_JOBS):
                info = await js.stream_info(name)
                assert info.config.num_replicas == 3
                assert info.cluster is not None and len(info.cluster.replicas or []) == 2
