"""Bundles in Redis beside the policy file: merged, refused whole, kept, signed as a whole."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import KernelProcess, MakeKernel, put_bundles

from cordum.core import signing
from cordum.core.policy import bundles as stored
from cordum.core.policy.bundles import Bundle
from cordum.core.policy.decision import Decision
from cordum.core.signing import Algorithm, SignatureObject
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient
from cordum.store.store import Store

Connect = Callable[..., KernelClient]
HttpGet = Callable[[str], Awaitable[httpx.Response]]

FILE = "version: f\nrules: [{id: file, match: {topics: [job.file]}, decision: allow}]\n"


def rule(rule_id: str, topic: str, decision: str) -> str:
    return f"rules:\n  - {{id: {rule_id}, match: {{topics: [{topic}]}}, decision: {decision}, reason: {rule_id}}}\n"


async def decided(client: KernelClient, topic: str) -> Decision:
    verdict = await client.check(safety_pb2.PolicyCheckRequest(job_id="j", topic=topic))
    return verdict.decision


async def test_bundles_are_merged_with_the_file_and_named_in_the_snapshot(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(
        bundle_store,
        {
            "secops/a": rule("a", "job.a", "allow"),
            "secops/off": {"content": rule("off", "job.off", "allow"), "enabled": False},
        },
    )
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    assert await decided(client, "job.file") is Decision.ALLOW
    assert await decided(client, "job.a") is Decision.ALLOW
    assert await decided(client, "job.off") is Decision.DENY
    before = (await client.check(safety_pb2.PolicyCheckRequest(job_id="j", topic="job.a"))).snapshot
    file, _, bundles = before.partition("|")
    assert file.startswith("f:") and bundles.startswith("cfg:")

    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "deny")})
    await kernel.logged("policy_loaded", 2)
    assert await decided(client, "job.a") is Decision.DENY
    after = (await client.check(safety_pb2.PolicyCheckRequest(job_id="j", topic="job.a"))).snapshot
    assert after.partition("|")[0] == file and after != before
    assert await client.snapshots() == (after, before)


async def test_a_rule_of_a_bundle_takes_the_place_of_the_files(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/x": rule("file", "job.file", "deny")})
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    assert await decided(connect(kernel.address), "job.file") is Decision.DENY


async def test_bundles_alone_are_a_policy(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "allow")})
    kernel = await make_kernel(policy=None, REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    assert await decided(client, "job.a") is Decision.ALLOW
    assert (await client.snapshots())[0].startswith("cfg:")


async def test_bundles_can_be_switched_off_or_kept_elsewhere(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("file", "job.file", "deny")})
    await bundle_store.configs.put("team", "rules", {"mine": {"b": rule("b", "job.b", "allow")}}, 0)
    without = await make_kernel(policy=FILE, REDIS_URL=redis_server.url, SAFETY_POLICY_CONFIG_DISABLE="true").start()
    assert await decided(connect(without.address), "job.file") is Decision.ALLOW
    elsewhere = await make_kernel(
        policy=FILE,
        REDIS_URL=redis_server.url,
        SAFETY_POLICY_CONFIG_SCOPE="team",
        SAFETY_POLICY_CONFIG_ID="rules",
        SAFETY_POLICY_CONFIG_KEY="mine",
    ).start()
    client = connect(elsewhere.address)
    assert await decided(client, "job.b") is Decision.ALLOW
    assert await decided(client, "job.file") is Decision.ALLOW


BAD = "rules:\n  - {id: a, match: {topics: [job.a]}, decision: alow}\n"


@pytest.mark.seed("S203")
@pytest.mark.parametrize(
    ("bad", "bundle", "line", "column"),
    [(BAD, "secops/b", 2, 49), ({"content": 7}, "secops/b", 0, 0), ("rules: [", "secops/b", 2, 1)],
    ids=["decision", "no text", "yaml"],
)
async def test_one_bad_bundle_refuses_the_whole_and_is_seen_everywhere(
    make_kernel: MakeKernel,
    connect: Connect,
    redis_server: Server,
    bundle_store: Store,
    http_get: HttpGet,
    bad: object,
    bundle: str,
    line: int,
    column: int,
) -> None:
    """W10: skipping it would let what it forbids run."""
    good = {"secops/invariants": rule("never", "job.file", "deny")}
    await put_bundles(bundle_store, {**good})
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    before = await client.snapshots()

    await put_bundles(bundle_store, {"secops/invariants": rule("never", "job.file", "allow"), "secops/b": bad})
    rejected = await kernel.logged("policy_reload_failed")
    assert (rejected["level"], rejected["bundle"], rejected["reason"]) == ("error", bundle, "invalid")
    assert (rejected["line"], rejected["column"]) == (line, column)
    assert bundle in rejected["error"]
    assert await decided(client, "job.file") is Decision.DENY
    assert await client.snapshots() == before
    health = await http_get(f"{kernel.admin}/health")
    assert (health.status_code, bundle in str(health.json()["policy"])) == (200, True)
    metrics = (await http_get(f"{kernel.admin}/metrics")).text
    assert f'cordum_policy_load_failures_total{{bundle="{bundle}",reason="invalid"}} 1.0' in metrics
    assert "cordum_policy_stale 1.0" in metrics
    assert "cordum_policy_age_seconds" in metrics

    fresh = make_kernel(policy=FILE, REDIS_URL=redis_server.url)
    await fresh.launch()
    assert await fresh.ended() == 2
    assert f"bundle {bundle}" in fresh.stderr

    await put_bundles(bundle_store, {**good, "secops/b": rule("b", "job.b", "allow")})
    await kernel.logged("policy_loaded", 2)
    assert await decided(client, "job.b") is Decision.ALLOW


async def test_redis_may_go_away_under_a_running_kernel_and_come_back(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store, http_get: HttpGet
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("file", "job.file", "deny")})
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    snapshots = await client.snapshots()
    await redis_server.stop()
    lost = await kernel.logged("policy_reload_failed")
    assert (lost["bundle"], lost["reason"]) == ("", "unavailable")
    assert await decided(client, "job.file") is Decision.DENY
    assert await client.snapshots() == snapshots
    assert "bundles cannot be read" in str((await http_get(f"{kernel.admin}/health")).json()["policy"])

    await redis_server.restart()
    await kernel.logged("policy_loaded", 2)
    await put_bundles(bundle_store, {"secops/a": rule("file", "job.file", "throttle")})
    await kernel.logged("policy_loaded", 3)
    assert await decided(client, "job.file") is Decision.THROTTLE
    assert (await http_get(f"{kernel.admin}/health")).status_code == 200


async def test_without_redis_where_there_should_be_one_a_kernel_does_not_start(
    make_kernel: MakeKernel, free_port: Callable[[], int]
) -> None:
    """The file alone is not the policy that was published."""
    kernel = make_kernel(policy=FILE, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    await kernel.launch()
    assert await kernel.ended() == 1
    assert "the policy bundles cannot be read" in kernel.stderr


async def test_all_bundles_gone_at_once_is_no_change_anybody_made(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("file", "job.file", "deny")})
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    await bundle_store._batcher.submit([("DEL", "cfg:system:policy")])
    lost = await kernel.logged("policy_reload_failed")
    assert (lost["reason"], "gone" in lost["error"]) == ("missing", True)
    client = connect(kernel.address)
    assert await decided(client, "job.file") is Decision.DENY

    await put_bundles(bundle_store, {})
    await kernel.logged("policy_loaded", 2)
    assert await decided(client, "job.file") is Decision.ALLOW


async def test_kernels_share_their_history(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "allow")})
    kernels = [make_kernel(policy=FILE, REDIS_URL=redis_server.url) for _ in range(2)]
    await asyncio.gather(*(kernel.start() for kernel in kernels))
    for round_ in range(2, 13):
        await put_bundles(bundle_store, {"secops/a": rule("a", f"job.a{round_}", "allow")})
        await asyncio.gather(*(kernel.logged("policy_loaded", round_) for kernel in kernels))
    shared = await bundle_store.snapshot_ids.newest()
    assert len(shared) == len(set(shared)) == 10
    late = await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()
    for kernel in (*kernels, late):
        assert await connect(kernel.address).snapshots() == shared


# Signatures

KEY = signing.generate(Algorithm.ED25519)
ENFORCED = {
    "CORDUM_POLICY_STRICT": "enforce",
    "CORDUM_POLICY_PUBLIC_KEY_OPS": signing.public_text(KEY.public_key()).replace("\n", "\\n"),
}


def signed(bundle_id: str, content: str, **more: Any) -> Bundle:
    signature = signing.sign(content.encode(), KEY, "ops").as_dict()
    return Bundle(id=bundle_id, content=content, signature=signature, **more)


def document(revision: int, *bundles: Bundle, expires_at: float = 0) -> tuple[dict[str, object], dict[str, object]]:
    manifest = stored.manifest_of(bundles, revision=revision, created_at=1, expires_at=expires_at)
    payload = stored.manifest_payload(manifest)
    signature: SignatureObject = signing.sign(stored.signed_manifest_bytes(payload), KEY, "ops")
    return dict(stored.write_bundles(bundles)), stored.write_manifest(payload, signature.as_dict())


FLOOR = signed("secops/invariants", rule("never", "job.no", "deny"))
MORE = signed("secops/more", rule("more", "job.more", "allow"))


async def start_enforced(make_kernel: MakeKernel, redis_server: Server, **env: str) -> KernelProcess:
    kernel = make_kernel(policy=FILE, REDIS_URL=redis_server.url, **{**ENFORCED, **env})
    sign_file(kernel)
    return kernel


def sign_file(kernel: KernelProcess) -> None:
    kernel.policy.with_name("safety.yaml.sig").write_bytes(signing.encode(signing.sign(FILE.encode(), KEY, "ops")))


@pytest.mark.seed("S31", "S32")
async def test_enforced_signatures_notice_what_is_switched_off_taken_out_or_put_back(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    """W12: none of these changes the content of a bundle that is left."""
    first, first_manifest = document(1, FLOOR)
    await put_bundles(bundle_store, first, manifest=first_manifest)
    kernel = await (await start_enforced(make_kernel, redis_server)).start()
    client = connect(kernel.address)
    second, second_manifest = document(2, FLOOR, MORE)
    await put_bundles(bundle_store, second, manifest=second_manifest)
    loaded = await kernel.logged("policy_loaded", 2)
    assert loaded["revision"] == 2
    assert await decided(client, "job.more") is Decision.ALLOW

    floor_off = {**second, "secops/invariants": {**stored.write_bundle(FLOOR), "enabled": False}}
    unsigned = {name: value for name, value in stored.write_bundle(MORE).items() if name != "_signature"}
    attempts: list[tuple[dict[str, object], object, str, str]] = [
        (floor_off, second_manifest, "secops/invariants", "invalid_signature"),
        ({"secops/more": second["secops/more"]}, second_manifest, "secops/invariants", "invalid_signature"),
        ({**second, "x/y": stored.write_bundle(signed("x/y", FILE))}, second_manifest, "x/y", "invalid_signature"),
        (first, first_manifest, "manifest", "invalid_signature"),
        (second, None, "manifest", "unsigned"),
        (second, {**second_manifest, "_signature": None}, "manifest", "unsigned"),
        (
            second,
            {**second_manifest, "payload": str(second_manifest["payload"]) + " "},
            "manifest",
            "invalid_signature",
        ),
        ({**second, "secops/more": unsigned}, second_manifest, "secops/more", "unsigned"),
    ]
    for number, (bundles, manifest, bundle, reason) in enumerate(attempts, start=1):
        await put_bundles(bundle_store, bundles, manifest=manifest)
        rejected = await kernel.logged("policy_reload_failed", number)
        assert (rejected["bundle"], rejected["reason"]) == (bundle, reason), rejected
        audited = await kernel.logged("policy_signature_rejected", number)
        assert (audited["audit_event"], audited["bundle"]) == ("policy_signature_rejected", bundle)
        assert await decided(client, "job.no") is Decision.DENY
        assert await decided(client, "job.more") is Decision.ALLOW

    third, third_manifest = document(3, FLOOR)
    await put_bundles(bundle_store, third, manifest=third_manifest)
    await kernel.logged("policy_loaded", 3)
    assert await decided(client, "job.more") is Decision.DENY


@pytest.mark.seed("S32")
@pytest.mark.parametrize(
    ("revision", "expires_at", "env", "said"),
    [
        (1, 0, {"SAFETY_POLICY_MIN_REVISION": "2"}, "revision 1, but 2"),
        (1, 1000, {}, "expired"),
        (0, 0, {}, "no signed manifest"),
    ],
)
async def test_an_enforced_kernel_does_not_start_with_an_old_expired_or_unsigned_set(
    make_kernel: MakeKernel,
    redis_server: Server,
    bundle_store: Store,
    revision: int,
    expires_at: float,
    env: dict[str, str],
    said: str,
) -> None:
    bundles, manifest = document(revision, FLOOR, expires_at=expires_at)
    await put_bundles(bundle_store, bundles, manifest=manifest if revision else None)
    kernel = await start_enforced(make_kernel, redis_server, **env)
    await kernel.launch()
    assert await kernel.ended() == 2
    assert said in kernel.stderr


async def test_with_warn_unsigned_bundles_are_used_and_forged_ones_are_not(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "allow")})
    env = {**ENFORCED, "CORDUM_POLICY_STRICT": "warn"}
    kernel = await make_kernel(policy=FILE, REDIS_URL=redis_server.url, **env).start()
    warned = [line["bundle"] for line in kernel.log if line.get("event") == "policy_signature_rejected"]
    assert warned == ["base", "secops/a"]
    forged = {**stored.write_bundle(FLOOR), "content": rule("never", "job.no", "allow")}
    await put_bundles(bundle_store, {"secops/invariants": forged})
    rejected = await kernel.logged("policy_reload_failed")
    assert (rejected["bundle"], rejected["reason"]) == ("secops/invariants", "invalid_signature")
    assert await decided(connect(kernel.address), "job.a") is Decision.ALLOW


async def test_a_hung_up_kernel_looks_at_its_bundles_at_once(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server, bundle_store: Store
) -> None:
    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "allow")})
    kernel = make_kernel(policy=FILE, REDIS_URL=redis_server.url, SAFETY_POLICY_RELOAD_INTERVAL="1h")
    await kernel.start()
    await put_bundles(bundle_store, {"secops/a": rule("a", "job.a", "deny")})
    kernel.hang_up()
    await kernel.logged("policy_loaded", 2)
    assert await decided(connect(kernel.address), "job.a") is Decision.DENY
    assert await kernel.signal(signal.SIGTERM) == 0
