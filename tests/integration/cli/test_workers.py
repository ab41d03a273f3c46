"""cordumctl worker credential: issued, listed without secrets, rotated, revoked (S101)."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.cordumctl import Result, cordumctl

from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.seed("S101")
async def test_credentials_are_issued_listed_rotated_and_revoked(module_stack: Stack, tmp_path: Path) -> None:
    env = {"CORDUM_API_URL": module_stack.api_url, "CORDUM_API_KEY": module_stack.secrets.admin_key}
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "laptop.pem").write_bytes(key.public_bytes(serialization.Encoding.PEM, info))

    async def credential(*arguments: str) -> Result:
        return await cordumctl("worker", "credential", *arguments, env=env, cwd=tmp_path)

    made = await credential(
        *("create", "--worker-id", "w1", "--allowed-pools", "default", "--agent-id", "agent-7"),
        *("--proof-key", "laptop.pem", "--json"),
    )
    assert made.code == 0, made.err
    first = made.json["token"]
    assert len(first) == 64
    rotated = await credential("create", "--worker-id", "w1")
    assert rotated.code == 0 and first not in rotated.out
    [second] = [word for word in rotated.out.split() if len(word) == 64]

    listed = await credential("list")
    as_json = await credential("list", "--json")
    assert "w1" in listed.out and "default" in listed.out and "laptop" in listed.out and "active" in listed.out
    [item] = as_json.json["items"]
    assert (item["worker_id"], item["allowed_pools"], item["agent_id"]) == ("w1", ["default"], "agent-7")
    for secret in (first, second, "argon2", "credential_hash"):
        assert secret not in listed.out + as_json.out

    assert (await credential("revoke", "--worker-id", "w1")).code == 0
    assert (await credential("list", "-o", "json")).json["items"][0]["status"] == "revoked"
    unknown = await credential("create", "--worker-id", "w2", "--allowed-pools", "nowhere")
    assert unknown.code == 1 and "unknown pool: nowhere" in unknown.err
    assert (await credential("revoke", "--worker-id", "w2")).code == 1
    unreadable = await credential("create", "--worker-id", "w2", "--proof-key", "missing.pem")
    assert unreadable.code == 2 and "missing.pem" in unreadable.err
