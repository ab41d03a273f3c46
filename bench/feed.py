"""Feeds the scheduler from NATS itself, past the gateway."""

import asyncio

from bench.nats import NatsClient
from bench.packets import SubmitWriter

_WINDOW = 1_000  # unacknowledged publishes
_SUBMIT = b"sys.job.submit"
_INBOX = "_INBOX.bench.feed"


async def feed(nats: NatsClient, writer: SubmitWriter, job_ids: list[str], within: float) -> None:
    """Publishes a submit for every id. Raises TimeoutError when they are not all stored `within` seconds."""
    acked, room = 0, asyncio.Event()

    def on_ack(_subject: bytes, _reply: bytes, payload: bytes) -> None:
        nonlocal acked
        if b'"error"' not in payload:
            acked += 1
        room.set()

    nats.subscribe(_INBOX, on_ack)
    async with asyncio.timeout(within):
        for sent, job_id in enumerate(job_ids):
            while sent - acked >= _WINDOW:
                room.clear()
                await room.wait()
            nats.publish(_SUBMIT, writer.packet(job_id), reply=_INBOX.encode())
            if sent % 64 == 63:
                await nats.writable()
                await asyncio.sleep(0)
        while acked < len(job_ids):
            room.clear()
            await room.wait()
