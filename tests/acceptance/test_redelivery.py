"""A scheduler dies after it has sent a job to its worker and before it has acknowledged the submit."""

import asyncio
from pathlib import Path

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.relay import Relay
from tests.acceptance.rig import UNTIL, comes_true, rig
from tests.acceptance.traffic import Marks, close_books
from tests.support.jetstream import unacknowledged

from cordum.embedded.datadir import DataDir
from cordum.embedded.ports import free_port
from cordum.embedded.servers import nats_url

SUBMITS = "dur_cordum-scheduler__sys_job_submit"


@pytest.mark.seed("S180")
async def test_what_was_sent_and_not_acknowledged_runs_once(tmp_path: Path, say: Say) -> None:
    directory, done = tmp_path / "stack", tmp_path / "done"
    async with Relay().listening() as relay:
        relay.target = free_port()
        url = nats_url(relay.port, DataDir(directory).prepare().nats_password)
        ports, env = {"nats": relay.target}, {"scheduler": {"NATS_URL": url}}
        async with rig(directory, workers=1, fixed_ports=ports, service_env=env) as made:
            marks, seen = await Marks.set(made), len(made.events)
            relay.withholds = f"PUB $JS.ACK.CORDUM_SYS.{SUBMITS}.".encode()
            job_id = await made.submit(str(done), topic=UNTIL)
            async with asyncio.timeout(10):
                await relay.withheld.wait()
            await made.stack.kill("scheduler")
            assert (await made.job(job_id))["state"] == "RUNNING"

            async def dealt_with() -> bool:
                return await unacknowledged(made.stack.nats_url, "CORDUM_SYS", SUBMITS) == 0

            await made.stack.wait_ready("scheduler")
            took = await comes_true(dealt_with, "the submit came again and was acknowledged")
            await asyncio.to_thread(done.touch)
            job = await made.job(job_id, wait=10)
            runs = (await made.runs("worker-1"))[job_id]
            books = await close_books(made, marks)
            say(books.line("ack lost", [job_id], f"acknowledged {took:.1f} s after the restart, run {runs} time(s)"))
            assert made.exits("scheduler", seen) == ["SIGKILL"]
            assert (job["state"], job["attempts"]) == ("SUCCEEDED", 1)
            assert runs == 1
            assert books.lost([job_id]) == [] and books.doubled([job_id]) == []
