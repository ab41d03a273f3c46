"""Configuration documents, `cfg:<scope>:<id>`, changed only by whoever knows the revision in force."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cordum.runtime.clock import Clock
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.errors import BadDocumentError, StoreConflictError
from cordum.store.link import Command, Payload

UPDATE_TRIES: Final = 3


class ConfigDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One document (spec-scheduler section 5).

    Attributes:
        revision: counts its changes, from 1.
        updated_at: RFC 3339.
    """

    scope: str
    scope_id: str
    data: dict[str, Any]
    revision: int = 0
    updated_at: str = ""
    meta: dict[str, Any] | None = None


class Configs:
    """All documents. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def get(self, scope: str, scope_id: str) -> ConfigDoc | None:
        """The document, or None.

        Raises:
            BadDocumentError: what is stored is not such a document.
        """
        stored = (await self._batcher.submit([Payload(("GET", keys.config(scope, scope_id)))]))[0]
        if not isinstance(stored, bytes):
            return None
        try:
            return msgspec.json.decode(stored, type=ConfigDoc)
        except msgspec.MsgspecError as error:
            raise BadDocumentError(f"{keys.config(scope, scope_id)} cannot be read: {error}") from error

    async def put(
        self,
        scope: str,
        scope_id: str,
        data: Mapping[str, Any],
        expected_revision: int,
        meta: Mapping[str, Any] | None = None,
    ) -> ConfigDoc:
        """Replaces the document and answers it with its new revision.

        Args:
            expected_revision: the revision that was read; 0 = there was none.

        Raises:
            StoreConflictError: it has another revision by now.
            BadDocumentError: what is stored is not such a document.
        """
        document = ConfigDoc(
            scope=scope,
            scope_id=scope_id,
            data=dict(data),
            revision=expected_revision + 1,
            updated_at=datetime.fromtimestamp(self._clock.now(), UTC).isoformat().replace("+00:00", "Z"),
            meta=dict(meta) if meta is not None else None,
        )
        key = keys.config(scope, scope_id)
        call: Command = (
            "EVALSHA",
            scripts.PUT_CONFIG.sha,
            1,
            key,
            expected_revision,
            msgspec.json.encode(document),
        )
        found = (await self._batcher.submit([call]))[0]
        if found == -2:
            raise BadDocumentError(f"{key} cannot be read, so it is not overwritten")
        if found != -1:
            raise StoreConflictError(f"{key} has revision {found!r}, not {expected_revision}")
        return document

    async def update(
        self,
        scope: str,
        scope_id: str,
        change: Callable[[dict[str, Any]], Mapping[str, Any]],
        *,
        tries: int = UPDATE_TRIES,
    ) -> ConfigDoc:
        """Reads, changes and puts back, again when somebody else was faster.

        Args:
            change: takes the data as stored ({} when there is none) and answers the new data; may be called again.

        Raises:
            StoreConflictError: somebody else was faster every time.
        """
        for left in range(tries - 1, -1, -1):
            document = await self.get(scope, scope_id)
            data, revision, meta = (document.data, document.revision, document.meta) if document else ({}, 0, None)
            try:
                return await self.put(scope, scope_id, change(data), revision, meta)
            except StoreConflictError:
                if not left:
                    raise
        raise StoreConflictError
