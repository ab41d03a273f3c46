"""Everything about sessions in one scheduler, put together from the settings and the keys (spec-scheduler 11.4)."""

from collections.abc import Callable

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import Bus
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.runtime.session_keys import HandshakeKeys, TrustKey
from cordum.runtime.settings import Rigour
from cordum.runtime.settings.sessions import HandshakeSettings
from cordum.services.scheduler.trust.handshake_service import HandshakeService
from cordum.services.scheduler.trust.handshake_trail import HandshakeTrail
from cordum.services.scheduler.trust.session_book import SessionBook
from cordum.services.scheduler.trust.sessions import SessionGuard
from cordum.store import Store
from cordum.store.audit_outbox import AuditOutbox

log = get_logger(__name__)


class Handshakes:
    """Answers handshakes, checks sessions, and knows what we show of ourselves.

    Attributes:
        guard: checks what workers say.
        tokens: what our own packets carry.
        trust: what our dispatches are signed with; None where no handshakes are answered.
    """

    def __init__(
        self,
        settings: HandshakeSettings,
        keys: HandshakeKeys | None,
        *,
        bus: Bus,
        store: Store,
        outbox: AuditOutbox,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """`keys`: None where they are not set; then there are no sessions, whatever the settings say."""
        self.tokens = ServiceTokens(keys.signer if keys is not None else None, clock, ids)
        self.trust: TrustKey | None = None
        self._book: SessionBook | None = None
        self._service: HandshakeService | None = None
        self._rigour = settings.sdk_handshake
        if keys is not None and self._rigour is not Rigour.OFF:
            self.trust = keys.trust
            self._book = SessionBook(store, keys.trusted, clock)
            self._service = HandshakeService(
                bus=bus,
                store=store,
                keys=keys,
                life=int(settings.worker_session_ttl),
                book=self._book,
                trail=HandshakeTrail(outbox, clock, ids),
                clock=clock,
                ids=ids,
            )
        self.guard = SessionGuard(self._rigour, self._book, clock)

    async def start(self, life: Lifecycle, on_capability: Callable[[BusPacket], None]) -> None:
        """Answers handshakes from here on.

        Args:
            on_capability: takes what a worker announces in an accepted handshake.
        """
        if self._service is None or self._book is None:
            return
        self._service.on_capability(on_capability)
        await self._service.start()
        life.on_stop(self._service.stop)
        life.spawn(self._book.run(), name="worker sessions")
        log.info("trust handshakes are answered", event="handshakes_answered", rigour=self._rigour.value)

    def refresh_soon(self) -> None:
        """Something says that sessions may have been revoked."""
        if self._book is not None:
            self._book.refresh_soon()
