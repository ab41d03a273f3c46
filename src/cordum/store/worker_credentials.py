"""Workers' credentials: one key each, so that no two changes ever contend (spec-auth 3.7).

`worker:credential:<worker_id>` is a hash: `document` has the credential, `revoked_at` when it was revoked. Issuing
writes both fields, revoking only the second, so that neither can undo the other halfway. `worker:credentials` is the
set of all worker ids, `worker:credentials:revision` counts the changes.

`cfg:system:workers` is a copy for tools that know only configuration documents: everything but the hashes. It is
written after each change and never read, with one exception: an installation that still keeps its credentials there,
hashes and all, is taken over once, while there are no keys of our own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.ids import WorkerId
from cordum.runtime.logging import get_logger
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.configs import Configs
from cordum.store.errors import BadDocumentError, StoreConflictError, StoreError
from cordum.store.job_lists import pairs
from cordum.store.link import Command, Reply

log = get_logger(__name__)

SYSTEM: Final = "system"
WORKERS: Final = "workers"
COPY_TRIES: Final = 32
_CHUNK: Final = 500

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(WorkerCredential)


class WorkerCredentials:
    """All of them. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, configs: Configs) -> None:
        self._batcher = batcher
        self._configs = configs

    async def get(self, worker_id: WorkerId) -> WorkerCredential | None:
        """A worker's credential, revoked or not.

        Raises:
            BadDocumentError: what is stored is none.
        """
        reply = (await self._batcher.submit([_read(worker_id)]))[0]
        return _credential(worker_id, reply)

    async def all(self) -> list[WorkerCredential]:
        """Every credential, by worker id. One that cannot be read is left out: its worker has none."""
        members = (await self._batcher.submit([("SMEMBERS", keys.WORKER_CREDENTIALS)]))[0]
        names = sorted(WorkerId(str(member)) for member in members) if isinstance(members, list) else []
        found: list[WorkerCredential] = []
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            for name, reply in zip(chunk, await self._batcher.submit([_read(name) for name in chunk]), strict=True):
                try:
                    credential = _credential(name, reply)
                except BadDocumentError as error:
                    log.error(error.message, event="credential_unreadable", worker_id=name)
                    continue
                if credential is not None:
                    found.append(credential)
        return found

    async def revision(self) -> int:
        """Counts the changes; 0 before the first."""
        reply = (await self._batcher.submit([("GET", keys.WORKER_CREDENTIALS_REVISION)]))[0]
        return int(reply) if isinstance(reply, str | bytes) else 0

    async def put(self, credential: WorkerCredential) -> None:
        """Puts a credential in force, in the place of any former one of that worker."""
        await self._write([credential])
        await self._copy()

    async def revoke(self, worker_id: WorkerId, at: str) -> WorkerCredential | None:
        """Revokes a worker's credential; None: it has none. One that is revoked already keeps its date.

        Args:
            at: RFC 3339.
        """
        known = await self.get(worker_id)
        if known is None or known.is_revoked:
            return known
        await self._batcher.submit([("HSET", keys.worker_credential(worker_id), "revoked_at", at)])
        await self._count()
        await self._copy()
        return msgspec.structs.replace(known, revoked_at=at)

    async def take_over(self) -> int:
        """Takes credentials over from `cfg:system:workers` where there are none of our own; how many."""
        known = (await self._batcher.submit([("SCARD", keys.WORKER_CREDENTIALS)]))[0]
        document = await self._configs.get(SYSTEM, WORKERS) if known == 0 else None
        found: list[WorkerCredential] = []
        for name, value in (document.data if document else {}).items():
            said = {key: said for key, said in value.items() if said is not None} if isinstance(value, dict) else value
            try:
                credential = msgspec.convert(said, WorkerCredential)
            except msgspec.ValidationError as error:
                log.warning("a stored credential is not taken over", event="credential_unreadable", error=str(error))
                continue
            if credential.credential_hash and credential.worker_id == name:
                found.append(credential)
        if found:
            await self._write(found)
            await self._copy()
        return len(found)

    async def _write(self, credentials: Sequence[WorkerCredential]) -> None:
        """In this order: what a list does not name yet is not believed either, and a change is told when it is done."""
        await self._batcher.submit(
            [("SADD", keys.WORKER_CREDENTIALS, *[credential.worker_id for credential in credentials])]
        )
        await self._batcher.submit(
            [
                (
                    "HSET",
                    keys.worker_credential(credential.worker_id),
                    "document",
                    _ENCODER.encode(msgspec.structs.replace(credential, revoked_at="")),
                    "revoked_at",
                    credential.revoked_at,
                )
                for credential in credentials
            ]
        )
        await self._count()

    async def _count(self) -> None:
        await self._batcher.submit([("INCR", keys.WORKER_CREDENTIALS_REVISION)])

    async def _copy(self) -> None:
        """Writes the copy; a failure is logged, the next change mends it."""
        try:
            for _ in range(COPY_TRIES):
                # The revision first: what is read after it is at least as new.
                document = await self._configs.get(SYSTEM, WORKERS)
                shown: dict[str, Any] = {found.worker_id: without_hash(found) for found in await self.all()}
                try:
                    await self._configs.put(SYSTEM, WORKERS, shown, document.revision if document else 0)
                    return
                except StoreConflictError:
                    continue
            log.warning("cfg:system:workers is not up to date", event="credentials_not_copied", error="contended")
        except StoreError as error:
            log.warning("cfg:system:workers is not up to date", event="credentials_not_copied", error=error.message)


def without_hash(credential: WorkerCredential) -> dict[str, Any]:
    """A credential as it may be seen by those who administer workers."""
    shown: dict[str, Any] = msgspec.to_builtins(credential)
    del shown["credential_hash"]
    return shown


def _read(worker_id: WorkerId) -> Command:
    return ("HGETALL", keys.worker_credential(worker_id))


def _credential(worker_id: WorkerId, reply: Reply) -> WorkerCredential | None:
    fields: Mapping[str, str] = pairs(reply) if isinstance(reply, list) else {}
    if not fields:
        return None
    try:
        credential = _DECODER.decode(fields.get("document", ""))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadDocumentError(f"the credential of {worker_id} cannot be read: {error}") from error
    if credential.worker_id != worker_id:
        raise BadDocumentError(f"the credential of {worker_id} is another worker's")
    return msgspec.structs.replace(credential, revoked_at=fields.get("revoked_at", ""))
