"""cordumctl policy on files: no gateway needed. Run as a process, as people and CI do."""

import stat
from pathlib import Path

import pytest
from tests.support.cordumctl import cordumctl

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "policies").glob("*.yaml"))

SHADOWED = """\
rules:
  - {id: read, match: {topics: ["job.read.*"]}, decision: allow}
  - {id: secret, match: {topics: [job.read.secret]}, decision: deny, reason: r}
tests:
  - {name: reads, request: {topic: job.read.a}, expect: {decision: allow}}
"""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_every_example_is_clean_and_its_tests_reach_every_rule(example: Path) -> None:
    linted = await cordumctl("policy", "lint", "--strict", str(example))
    assert (linted.code, linted.out) == (0, "")
    tested = await cordumctl("policy", "test", str(example), "-o", "json")
    assert tested.code == 0 and tested.json["passed"]
    assert [rule["rule_id"] for rule in tested.json["coverage"] if not rule["hits"]] == []


async def test_lint_shows_what_is_wrong_with_a_request(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(SHADOWED)
    found = await cordumctl("policy", "lint", "p.yaml", cwd=tmp_path)
    assert found.code == 1
    assert "p.yaml:3: error [unreachable] secret: never decides" in found.out
    assert '{"topic": "job.read.secret", "tenant": "default"}' in found.out

    told = await cordumctl("policy", "lint", "p.yaml", "-o", "json", cwd=tmp_path)
    assert told.code == 1
    (file,) = told.json["files"]
    assert [note["kind"] for note in file["notes"]] == ["unreachable"] and file["notes"][0]["line"] == 3


async def test_lint_of_a_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("rules:\n  - {id: a, decison: allow}\n")
    found = await cordumctl("policy", "lint", "p.yaml", cwd=tmp_path)
    assert found.code == 1
    assert 'p.yaml:2:13: rules[0].decison: unknown key "decison"' in found.out and "did you mean" in found.out
    assert (await cordumctl("policy", "lint", "nowhere.yaml", cwd=tmp_path)).code == 2


async def test_warnings_fail_only_when_asked_to(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("rules: [{id: a, match: {topics: [job.a]}, decision: deny}]")
    assert (await cordumctl("policy", "lint", "p.yaml", cwd=tmp_path)).code == 0
    assert (await cordumctl("policy", "lint", "--strict", "p.yaml", cwd=tmp_path)).code == 1


async def test_a_failing_test_and_coverage(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(SHADOWED.replace("decision: allow}}", "decision: deny}}"))
    ran = await cordumctl("policy", "test", "p.yaml", "--coverage", cwd=tmp_path)
    assert ran.code == 1 and 'expected "deny", got "allow"' in ran.out
    assert "0 of 1 passed; 1 of 2 rules reached" in ran.err
    (tmp_path / "q.yaml").write_text("rules: []")
    assert (await cordumctl("policy", "test", "q.yaml", cwd=tmp_path)).code == 2


async def test_diff_of_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: [{id: a, match: {topics: [job.a]}, decision: allow}]")
    (tmp_path / "b.yaml").write_text("rules: [{id: a, match: {topics: [job.a, job.b]}, decision: allow}]")
    wider = await cordumctl("policy", "diff", "a.yaml", "b.yaml", "-o", "json", cwd=tmp_path)
    assert wider.code == 1 and wider.json["complete"]
    (one,) = wider.json["differences"]
    assert (one["direction"], one["before"], one["after"], one["request"]["topic"]) == (
        "relaxed",
        "DENY",
        "ALLOW",
        "job.b",
    )
    narrower = await cordumctl("policy", "diff", "b.yaml", "a.yaml", cwd=tmp_path)
    assert narrower.code == 0 and "escalated" in narrower.out
    assert (await cordumctl("policy", "diff", "a.yaml", "live", cwd=tmp_path)).code == 2


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
@pytest.mark.parametrize("form", ["json", "base64", "raw"])
async def test_sign_and_verify(algorithm: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(SHADOWED)
    made = await cordumctl("policy", "keygen", "--algorithm", algorithm, cwd=tmp_path)
    assert made.code == 0 and stat.S_IMODE((tmp_path / "policy.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in made.out + made.err
    signed = await cordumctl("policy", "sign", "p.yaml", "--key", "policy.key", "--format", form, cwd=tmp_path)
    assert signed.code == 0, signed.err
    verify = ["policy", "verify", "--in", "p.yaml", "--public-key", "policy.pub"]
    assert (await cordumctl(*verify, cwd=tmp_path)).code == 0
    with (tmp_path / "p.yaml").open("a") as file:
        file.write("#")
    changed = await cordumctl(*verify, cwd=tmp_path)
    assert changed.code == 1 and "invalid_signature" in changed.err


async def test_keys_from_variables_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(SHADOWED)
    assert (await cordumctl("policy", "keygen", "--out", "k", "--public", "k.pub", cwd=tmp_path)).code == 0
    private, public = (tmp_path / "k").read_text(), (tmp_path / "k.pub").read_text()
    env = {"CORDUM_POLICY_SIGNING_KEY": private, "SAFETY_POLICY_PUBLIC_KEY": public}
    unsigned = await cordumctl("policy", "verify", "p.yaml", env=env, cwd=tmp_path)
    assert unsigned.code == 1 and "unsigned" in unsigned.err
    assert (await cordumctl("policy", "sign", "p.yaml", env=env, cwd=tmp_path)).code == 0
    assert (await cordumctl("policy", "verify", "p.yaml", env=env, cwd=tmp_path)).code == 0

    for arguments in (
        ("sign", "p.yaml"),
        ("verify", "p.yaml"),
        ("sign", "--key", "k"),
        ("sign", "p.yaml", "--key", "p.yaml"),
        ("keygen", "--out", "k"),
        ("keygen", "--out", "new", "--algorithm", "rsa"),
    ):
        refused = await cordumctl("policy", *arguments, cwd=tmp_path)
        assert refused.code == 2, arguments
        assert private.splitlines()[1] not in refused.err
    assert (tmp_path / "k").read_text() == private
