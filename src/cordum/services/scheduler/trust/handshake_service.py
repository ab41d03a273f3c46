"""Answers the trust handshakes of workers; any scheduler may take either phase (spec-scheduler 11.4).

While Redis is away a request gets no answer: the worker's SDK takes silence for an outage and asks again, and any
answer for the last word.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import Bus, BusError, CoreMessage, Subscription, envelope, subjects
from cordum.core.access.worker_credential import WorkerCredential
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.runtime.session_keys import HandshakeKeys
from cordum.services.scheduler.trust import handshake_packets
from cordum.services.scheduler.trust.authenticate import Accepted, Authenticator
from cordum.services.scheduler.trust.challenge import Challenger
from cordum.services.scheduler.trust.handshake_packets import AUTHENTICATE, REQUEST, Asked, Refused
from cordum.services.scheduler.trust.handshake_trail import HandshakeTrail
from cordum.services.scheduler.trust.rejections import Rejection
from cordum.services.scheduler.trust.session_book import SessionBook
from cordum.store import BadDocumentError, Store, StoreError

log = get_logger(__name__)

MAX_AT_ONCE: Final = 64
"""Requests handled at once; the others wait in order."""

_OURS: Final = frozenset({"sys", "job", "worker"})
"""Where answers never go: whoever asks chooses the subject, and our word must not be put where it is obeyed."""

OnCapability = Callable[[BusPacket], None]


class HandshakeService:
    """Listens on both subjects, together with all other schedulers."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        keys: HandshakeKeys,
        life: int,
        book: SessionBook,
        trail: HandshakeTrail,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._bus = bus
        self._store = store
        self._keys = keys
        self._book = book
        self._trail = trail
        self._clock = clock
        self._challenger = Challenger(store, keys, clock, ids)
        self._authenticator = Authenticator(store, keys, life, clock, ids)
        self._on_capability: OnCapability = _nobody
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._at_work: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    def on_capability(self, call: OnCapability) -> None:
        """Calls back with what an accepted worker says it is ready for, as an announcement of its own."""
        self._on_capability = call

    async def start(self) -> None:
        """Answers from here on."""
        self._subscriptions = [
            await self._bus.subscribe(subjects.WORKER_CHALLENGE, self._on_challenge, queue=subjects.SCHEDULER_QUEUE),
            await self._bus.subscribe(
                subjects.WORKER_AUTHENTICATE, self._on_authenticate, queue=subjects.SCHEDULER_QUEUE
            ),
        ]

    async def stop(self) -> None:
        """Takes no more; what is being handled comes to its end."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        if self._at_work:
            await asyncio.wait(self._at_work)

    async def _on_challenge(self, message: CoreMessage) -> None:
        await self._work(self._challenge(message), "challenge")

    async def _on_authenticate(self, message: CoreMessage) -> None:
        await self._work(self._authenticate(message), "authenticate")

    async def _work(self, handling: Coroutine[None, None, None], name: str) -> None:
        await self._places.acquire()
        task = asyncio.create_task(self._guarded(handling), name=f"handshake {name}")
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _guarded(self, handling: Coroutine[None, None, None]) -> None:
        try:
            await handling
        except StoreError as error:
            log.warning("a handshake is not answered", event="worker_handshake_deferred", error=error.message)
        except Exception:
            log.exception("a handshake failed", event="worker_handshake_failed")
        finally:
            self._places.release()

    async def _challenge(self, message: CoreMessage) -> None:
        asked = self._read(message, REQUEST)
        if asked is None:
            return
        credential = None if asked.refused is not None else await self._credential(asked)
        if isinstance(credential, Refused):
            await self._refuse(message, asked, credential, None)
            return
        outcome = asked.refused or await self._challenger.challenge(asked, credential)
        if isinstance(outcome, Refused):
            await self._refuse(message, asked, outcome, credential)
            return
        self._trail.challenged(asked)
        await self._reply(message, handshake_packets.sealed(outcome, self._keys.trust))

    async def _authenticate(self, message: CoreMessage) -> None:
        asked = self._read(message, AUTHENTICATE)
        if asked is None:
            return
        credential = None if asked.refused is not None else await self._credential(asked)
        if isinstance(credential, Refused):
            await self._refuse(message, asked, credential, None)
            return
        outcome = asked.refused or await self._authenticator.authenticate(asked, credential)
        if isinstance(outcome, Refused):
            await self._refuse(message, asked, outcome, credential)
            return
        self._trail.accepted(asked, outcome.claims)
        self._book.changed(asked.worker_id)
        await self._reply(message, handshake_packets.sealed(outcome.packet, self._keys.trust))
        self._on_capability(self._announcement(asked, outcome))

    def _read(self, message: CoreMessage, phase: str) -> Asked | None:
        asked = handshake_packets.read(message.data, phase, self._clock.now())
        if asked is None:
            self._trail.unreadable(len(message.data))
        return asked

    async def _credential(self, asked: Asked) -> WorkerCredential | Refused | None:
        """As it is stored now: one that was revoked a moment ago must not get another session."""
        try:
            return await self._store.worker_credentials.get(asked.worker_id)
        except BadDocumentError as error:
            return Refused(Rejection.INTERNAL_ERROR, error.message)

    def _announcement(self, asked: Asked, accepted: Accepted) -> BusPacket:
        packet = envelope.packet(asked.worker_id, asked.said.trace_id, self._clock.now())
        packet.auth_token = accepted.packet.auth_token
        packet.handshake.CopyFrom(asked.packet.worker_handshake_authenticate.capability_handshake)
        return packet

    async def _refuse(
        self, message: CoreMessage, asked: Asked, refused: Refused, credential: WorkerCredential | None
    ) -> None:
        self._trail.refused(asked, refused, credential.tenant_id if credential is not None else None)
        data = handshake_packets.rejection(asked, refused, self._keys.trust, self._clock.now())
        if data is not None:
            await self._reply(message, data)

    async def _reply(self, message: CoreMessage, data: bytes) -> None:
        if not message.reply or message.reply.startswith("$") or message.reply.partition(".")[0] in _OURS:
            log.warning("a handshake wants no answer", event="worker_handshake_unanswered", reply=message.reply[:100])
            return
        try:
            await self._bus.publish_core(message.reply, data)
        except BusError as error:
            log.warning("a handshake's answer was not sent", event="worker_handshake_unanswered", error=error.message)


def _nobody(_packet: BusPacket) -> None:
    """Nobody wants to know."""
