"""`/api/v1/workers/credentials`: who may call itself which worker (spec-gateway section 6, spec-auth 3.7).

The token of a credential is shown once, in the answer that issues it; what is stored is its hash, and neither is ever
in a list, a log line or the audit log.
"""

import asyncio
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.bus import BadSubjectError, subjects
from cordum.core.access.worker_credential import BadProofKeyError, ProofKey, WorkerCredential, read_proof_keys
from cordum.core.access.worker_tokens import SALT_BYTES, TOKEN_BYTES, hash_token, token_of
from cordum.core.ids import PoolName, Topic, WorkerId
from cordum.runtime.logging import get_logger
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.config_changes import announce_change
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.services.gateway.times import rfc3339

log = get_logger(__name__)

SCOPE_ID: Final = "workers"
MAX_CREDENTIALS: Final = 10_000
"""As many as a scheduler takes workers in."""

HASHING_AT_ONCE: Final = 2
"""64 MiB each."""

_hashers: Final = ThreadPoolExecutor(HASHING_AT_ONCE, thread_name_prefix="worker-token")
_UNSHOWN: Final = (("Cache-Control", "no-store"),)

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[list[Name], Meta(max_length=100)]


class ProofKeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A public key on P-256, as PEM."""

    id: Name
    public_key: Annotated[str, Meta(max_length=2_048)]
    alg: Annotated[str, Meta(max_length=16)] = "ES256"


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True):
    """A credential to issue. What is left out when a credential is issued anew stays as it was."""

    worker_id: Name
    allowed_pools: Names | None = None
    allowed_topics: Names | None = None
    agent_id: Annotated[str, Meta(max_length=128)] | None = None
    pack_id: Annotated[str, Meta(max_length=128)] | None = None
    proof_keys: Annotated[list[ProofKeyBody], Meta(max_length=8)] | None = None


class CredentialList(msgspec.Struct):
    """Every credential, revoked ones too; never a token or its hash."""

    items: list[dict[str, Any]]


async def list_credentials(parts: Parts, call: Call) -> Answer:
    """The credentials this caller may see: all of them for the installation's own administrators."""
    everyone = is_platform(parts, call)
    found = await parts.store.worker_credentials.all()
    return answer(
        CredentialList(
            items=[shown(credential) for credential in found if everyone or credential.tenant_id == call.tenant]
        )
    )


async def issue_credential(parts: Parts, call: Call) -> Answer:
    """Issues a credential, or another token in the place of the one in force."""
    _demand_platform(parts, call)
    body: CredentialBody = call.body
    worker_id = _worker_id(body.worker_id)
    store = parts.store.worker_credentials
    known = await store.get(worker_id)
    if known is None and len(await store.all()) >= MAX_CREDENTIALS:
        raise ApiError("WORKER_CRED_LIMIT")
    pools, topics = await _binding(parts, call, body, known)
    token = token_of(secrets.token_bytes(TOKEN_BYTES))
    salt = secrets.token_bytes(SALT_BYTES)
    hashed = await asyncio.get_running_loop().run_in_executor(_hashers, hash_token, token, salt)
    credential = WorkerCredential(
        worker_id=worker_id,
        tenant_id=call.tenant,
        credential_hash=hashed,
        allowed_pools=pools,
        allowed_topics=topics,
        pack_id=body.pack_id if body.pack_id is not None else known.pack_id if known else "",
        agent_id=body.agent_id if body.agent_id is not None else known.agent_id if known else "",
        proof_keys=_proof_keys(body, known),
        created_by=call.caller.name,
        created_at=rfc3339(parts.clock.now()),
    )
    await store.put(credential)
    await announce(parts)
    action = "rotate" if known else "issue"
    await _record(parts, call, action, credential)
    log.info("worker credential issued", event="worker_credential_issued", worker_id=worker_id, action=action)
    return answer({**shown(credential), "token": token}, status=200 if known else 201, headers=_UNSHOWN)


async def revoke_credential(parts: Parts, call: Call) -> Answer:
    """Revokes a worker's credential, and its session with it."""
    _demand_platform(parts, call)
    worker_id = WorkerId(call.params["worker_id"])
    credential = await parts.store.worker_credentials.revoke(worker_id, rfc3339(parts.clock.now()))
    if credential is None:
        raise ApiError("WORKER_CRED_NOT_FOUND")
    await parts.store.sessions.revoke(worker_id)
    await announce(parts)
    await _record(parts, call, "revoke", credential)
    log.info("worker credential revoked", event="worker_credential_revoked", worker_id=worker_id)
    return NO_CONTENT


def shown(credential: WorkerCredential) -> dict[str, Any]:
    """A credential as lists show it."""
    return {
        "worker_id": credential.worker_id,
        "tenant_id": credential.tenant_id,
        "allowed_pools": credential.allowed_pools,
        "allowed_topics": credential.allowed_topics,
        "pack_id": credential.pack_id,
        "agent_id": credential.agent_id,
        "proof_keys": [{"id": key.id, "alg": key.alg, "fingerprint": key.fingerprint} for key in credential.proof_keys],
        "created_by": credential.created_by,
        "created_at": credential.created_at,
        "revoked_at": credential.revoked_at or None,
        "status": "revoked" if credential.is_revoked else "active",
    }


def _demand_platform(parts: Parts, call: Call) -> None:
    """A worker gets jobs of every tenant, so only the installation's own administrators say who is one."""
    if not is_platform(parts, call):
        raise ApiError(
            "tenant_access_denied",
            f"workers serve every tenant: use a key of the tenant {parts.settings.tenant_id}, "
            "or one with allow_cross_tenant",
        )


def _worker_id(text: str) -> WorkerId:
    try:
        subjects.worker_jobs(text)
    except BadSubjectError as error:
        raise invalid(error.message, "invalid_request") from error
    return WorkerId(text)


async def _binding(
    parts: Parts, call: Call, body: CredentialBody, known: WorkerCredential | None
) -> tuple[tuple[PoolName, ...], tuple[Topic, ...]]:
    """The pools and topics of the new credential, those that were named now having been looked for."""
    pools = known.allowed_pools if known else ()
    topics = known.allowed_topics if known else ()
    if body.allowed_pools is not None:
        pools = tuple(PoolName(name) for name in dict.fromkeys(body.allowed_pools))
        if pools:
            _demand_known("pool", pools, await _pools(parts))
    if body.allowed_topics is not None:
        topics = tuple(Topic(name) for name in dict.fromkeys(body.allowed_topics))
        if topics:
            await parts.topics.look()
            _demand_known("topic", topics, (entry.name for entry in parts.topics.of(call.tenant)))
    return pools, topics


def _demand_known(kind: str, named: Iterable[str], known: Iterable[str]) -> None:
    there = sorted(known)
    missing = [name for name in named if name not in there]
    if missing:
        raise ApiError(
            "WORKER_CRED_BINDING_INVALID",
            f"unknown {kind}: {', '.join(missing)}",
            extra={"unknown": missing, f"{kind}s": there[:50]},
        )


async def _pools(parts: Parts) -> set[str]:
    """Every pool there is: those declared, and those that topics are mapped to."""
    document = await parts.store.configs.get("system", "default")
    pools = document.data.get("pools") if document else None
    if not isinstance(pools, dict):
        return set()
    found = {str(name) for name in pools.get("pools") or ()}
    for mapped in (pools.get("topics") or {}).values():
        found |= {mapped} if isinstance(mapped, str) else {str(name) for name in mapped}
    return found


def _proof_keys(body: CredentialBody, known: WorkerCredential | None) -> tuple[ProofKey, ...]:
    if body.proof_keys is None:
        return known.proof_keys if known else ()
    try:
        return read_proof_keys([(key.id, key.public_key) for key in body.proof_keys])
    except BadProofKeyError as error:
        raise invalid(error.message, "WORKER_PROOF_KEY_INVALID") from error


async def announce(parts: Parts) -> None:
    """Tells the schedulers, so that they do not wait for their timer."""
    await announce_change(parts.bus, parts.clock, "system", SCOPE_ID)


async def _record(parts: Parts, call: Call, action: str, credential: WorkerCredential) -> None:
    await parts.auditor.record(
        call.caller,
        action,
        resource_type="worker_credential",
        resource_id=credential.worker_id,
        agent_id=credential.agent_id,
        extra={
            "allowed_pools": ",".join(credential.allowed_pools),
            "allowed_topics": ",".join(credential.allowed_topics),
            "proof_keys": ",".join(f"{key.id}={key.fingerprint[:16]}" for key in credential.proof_keys),
        },
    )
