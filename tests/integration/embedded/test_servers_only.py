"""The supervisor with the two servers alone: ports, data, and what is left when it dies."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.support.processes import alive, nothing_left

from cordum.embedded import probes
from cordum.embedded.datadir import DataDir
from cordum.embedded.errors import DataDirHeldError, MissingBinaryError, PortTakenError, StartError
from cordum.embedded.keeper import Event, Phase
from cordum.embedded.ports import is_free
from cordum.embedded.stack import Options, Stack, clean_environment

SERVERS_ONLY = {"kernel": 0, "scheduler": 0, "gateway": 0}

SUPERVISE = """
import asyncio, sys
from pathlib import Path
from cordum.embedded import probes
from cordum.embedded.datadir import DataDir
from cordum.embedded.stack import Options, Stack

async def main():
    options = Options(replicas={"kernel": 0, "scheduler": 0, "gateway": 0}, scratch=sys.argv[2] == "scratch")
    stack = Stack(DataDir(Path(sys.argv[1])), options)
    await stack.start()
    print(*stack.pids.values(), stack.guardian_pid, stack.ports["nats"], stack.ports["redis"], flush=True)
    await asyncio.sleep(600)

if sys.argv[3] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


def servers_only(path: Path, fresh: bool = False, env: dict[str, str] | None = None, **ports: int) -> Stack:
    options = Options(replicas=SERVERS_ONLY, fresh=fresh, fixed_ports=ports, env={**clean_environment(), **(env or {})})
    return Stack(DataDir(path), options)


async def test_servers_listen_on_loopback_with_a_password(tmp_path: Path) -> None:
    async with servers_only(tmp_path) as stack:
        async with Redis.from_url(stack.redis_url) as client:
            settings = await client.config_get("append*")
            assert settings["appendonly"] == "yes" and settings["appendfsync"] == "everysec"
            assert (await client.config_get("bind"))["bind"] == "127.0.0.1"
        assert not await probes.redis_answers(stack.ports["redis"], "")
        assert not await probes.redis_answers(stack.ports["redis"], "wrong")
        assert not await probes.jetstream_answers(stack.ports["nats"], "cordum", "wrong")
        assert "sync_interval: 1s" in (tmp_path / "nats" / "nats.conf").read_text()
        assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0


async def test_state_and_ports_stay_until_a_fresh_start(tmp_path: Path) -> None:
    async with servers_only(tmp_path) as stack:
        ports = dict(stack.ports)
        async with Redis.from_url(stack.redis_url) as client:
            await client.set("k", "v")
    async with servers_only(tmp_path) as stack:
        assert stack.ports == ports
        async with Redis.from_url(stack.redis_url) as client:
            assert await client.get("k") == b"v"
    async with servers_only(tmp_path, fresh=True) as stack, Redis.from_url(stack.redis_url) as client:
        assert await client.get("k") is None


async def test_a_second_supervisor_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    async with servers_only(tmp_path) as stack:
        with pytest.raises(DataDirHeldError):
            await servers_only(tmp_path).start()
        assert DataDir(tmp_path).running() is not None
        assert all(map(alive, stack.pids.values()))


async def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    async with servers_only(tmp_path) as stack:
        pids, ports = [*stack.pids.values(), stack.guardian_pid], list(stack.ports.values())
    await nothing_left(pids, ports, within=1)
    assert DataDir(tmp_path).running() is None
    assert not (tmp_path / "stack.json").exists() and not (tmp_path / "env").exists()


async def test_a_server_killed_under_it_is_started_again_on_its_port_and_reported(tmp_path: Path) -> None:
    events: list[Event] = []
    stack = Stack(DataDir(tmp_path), Options(replicas=SERVERS_ONLY), events.append)
    async with stack:
        port = stack.ports["nats"]
        await stack.kill("nats")
        await stack.wait_ready("nats", within=10)
        assert stack.ports["nats"] == port and not is_free(port)
    assert [event.phase for event in events if event.part == "nats"] == [
        Phase.STARTING,
        Phase.READY,
        Phase.ENDED,
        Phase.READY,
        Phase.STOPPED,
    ]


async def test_a_port_that_must_be_taken_and_is_not_free(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(PortTakenError, match=r"redis: port \d+ is taken"),
    ):
        await servers_only(tmp_path, redis=other.getsockname()[1]).start()
    assert DataDir(tmp_path).running() is None


async def test_a_lost_race_for_a_port_is_tried_again_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        stolen = other.getsockname()[1]
        choose = Stack._choose
        given: list[str] = []

        def race(stack: Stack, key: str, preferred: int) -> int:
            given.append(key)
            return stolen if key in ("nats", "redis") and given.count(key) == 1 else choose(stack, key, preferred)

        monkeypatch.setattr(Stack, "_choose", race)
        async with servers_only(tmp_path) as stack:
            assert given.count("nats") == 2 and given.count("redis") == 2
            assert stolen not in stack.ports.values()


async def test_a_missing_program_stops_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingBinaryError, match="CORDUM_NATS_SERVER"):
        await servers_only(tmp_path, env={"CORDUM_NATS_SERVER": "/nowhere/nats-server"}).start()
    async with servers_only(tmp_path):
        pass


async def test_a_server_that_does_not_start_shows_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho cannot go on >&2\nexit 7\n")
    broken.chmod(0o755)
    with pytest.raises(StartError, match=r"redis: ended with exit code 7") as caught:
        await servers_only(tmp_path / "d", env={"CORDUM_REDIS_SERVER": str(broken)}).start()
    assert caught.value.log_tail == ["cannot go on"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["kept", "scratch"])
async def test_killing_the_supervisor_leaves_no_child_no_port_no_lock(tmp_path: Path, kind: str, loop: str) -> None:
    data = tmp_path / "data"
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISE, str(data), kind, loop, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    line = await asyncio.wait_for(supervisor.stdout.readline(), 30)
    nats, redis, guardian, *ports = map(int, line.split())
    assert alive(nats) and alive(redis) and alive(guardian)

    supervisor.send_signal(signal.SIGKILL)
    await supervisor.wait()

    await nothing_left([nats, redis, guardian], ports)
    if kind == "scratch":
        assert not data.exists()
    else:
        async with servers_only(data):
            pass
