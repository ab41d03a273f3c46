"""How `cordumctl policy` shows faults, keeps keys, and reads times."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cordum.cli.errors import RefusedError, UsageError
from cordum.cli.policy.bundles import path_of
from cordum.cli.policy.files import BadPolicyFileError, excerpt, read_policy, write_private
from cordum.cli.policy.refused import shown_in
from cordum.cli.policy.replaying import moment
from cordum.core.policy.errors import Fault


def test_a_fault_is_shown_with_its_line_and_a_caret(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text('rules:\n  - {id: a, match: {topics: ["job.["]}}\n')
    with pytest.raises(BadPolicyFileError) as refused:
        read_policy(file)
    lines = refused.value.message.splitlines()
    assert lines[0] == f"{file} cannot be used: one fault"
    assert lines[1].startswith(f"{file}:2:30: rules[0].match.topics[0]: bad pattern")
    assert lines[2] == '    2 |   - {id: a, match: {topics: ["job.["]}}'
    assert lines[3].index("^") == lines[2].index('"job.[')


def test_a_fault_in_a_very_long_line_or_beyond_the_text() -> None:
    shown = excerpt("p", b"x" * 5000, Fault(1, 4000, "", "bad")).splitlines()
    assert len(shown[1]) < 200 and shown[2].endswith("^")
    assert excerpt("p", b"x", Fault(9, 1, "", "bad")) == "p:9:1: bad"
    assert "\x1b" not in excerpt("p", b"\x1b[2Jx", Fault(1, 1, "", "bad"))


def test_a_private_key_is_for_its_owner_alone_and_never_overwritten_by_accident(tmp_path: Path) -> None:
    file = tmp_path / "k"
    write_private(file, "one", force=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="there already"):
        write_private(file, "two", force=False)
    assert file.read_text() == "one"
    write_private(file, "two", force=True)
    assert file.read_text() == "two" and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_bundle_id_in_a_path() -> None:
    assert path_of("secops/a b") == "/policy/bundles/secops~a%20b"
    with pytest.raises(UsageError):
        path_of(" ")


def test_times_of_a_replay() -> None:
    now = datetime(2026, 1, 10, 12, tzinfo=UTC)
    assert moment("24h", now, "--since") == "2026-01-09T12:00:00Z"
    assert moment("7d", now, "--since") == "2026-01-03T12:00:00Z"
    assert moment("2026-01-01T00:00:00+02:00", now, "--since") == "2025-12-31T22:00:00Z"
    with pytest.raises(UsageError, match="--since yesterday"):
        moment("yesterday", now, "--since")


def test_what_the_gateway_found_is_shown_in_the_file() -> None:
    body: dict[str, object] = {"faults": [{"path": "rules[0]", "line": 1, "column": 3, "message": "bad"}]}
    with pytest.raises(BadPolicyFileError, match=r"p\.yaml:1:3: rules") as refused, shown_in(Path("p.yaml"), "a: b"):
        raise RefusedError("refused", "", 400, body)
    assert refused.value.message.endswith("  ^")


def test_what_would_be_let_run_is_shown_with_what_to_do() -> None:
    body: dict[str, object] = {
        "code": "POLICY_RELAXED",
        "differences": [
            {
                "direction": "relaxed",
                "request": {"topic": "job.a"},
                "before": "DENY",
                "after": "ALLOW",
                "after_rule_id": "r",
            }
        ],
    }
    with (
        pytest.raises(Exception, match=r'DENY becomes ALLOW by r: \{"topic": "job.a"\}') as refused,
        shown_in(Path("p"), ""),
    ):
        raise RefusedError("refused", "", 409, body)
    assert "--acknowledge-relaxed" in getattr(refused.value, "hint", "")


def test_any_other_refusal_stays_what_it_is() -> None:
    with pytest.raises(RefusedError), shown_in(Path("p"), ""):
        raise RefusedError("no", "", 403, {})
