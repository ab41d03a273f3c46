"""What an action says about itself, checked before any rule."""

import json

import pytest

from cordum.core.policy.decision import Decision
from cordum.core.policy.gates import BadActionError, Facts, Objection, check, host_to_resolve, read_action

PUBLIC = Facts(tenant="acme", addresses=("93.184.215.14",))


def asked(facts: Facts = PUBLIC, /, **fields: object) -> Objection | None:
    return check(read_action(json.dumps(fields)), facts)


def denied_by(gate: str, objection: Objection | None) -> bool:
    return objection is not None and objection.gate == gate and objection.decision is Decision.DENY


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "a/../../etc/passwd",
        "a\\..\\b",
        "%2e%2e/secret",
        "%252e%252e%252fsecret",
        "reports/x\x00.txt",
        "reports/x%00.txt",
        "/dev/sda",
        "/proc/self/environ",
        "//proc/self/mem",
        "/./sys/kernel",
        "C:\\reports\\NUL",
        "aux.txt",
        "com1 ",
        "\\\\.\\PhysicalDrive0",
        "/home/bob/.ssh/config",
        "/HOME/BOB/.SSH/ID_RSA",
        "~/.aws/credentials",
        ".env",
        ".env.production",
        "/etc/shadow",
        "server.pem",
        "id_rsa::$DATA",
        "file:///etc/shadow",
        ".env. ",
    ],
)
def test_a_path_out_of_bounds_is_denied(path: str) -> None:
    assert denied_by("file", asked(kind="file", verb="read", target_path=path))


@pytest.mark.parametrize(
    "path",
    ["reports/q3.csv", "/srv/data/a..b.txt", "/home/bob/environment.md", "development/x", "100%.txt", "/data/key"],
)
def test_an_ordinary_path_passes(path: str) -> None:
    assert asked(kind="file", verb="read", target_path=path) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal./x",
        "http://[fd00:ec2::254]/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:7f00:1::]/",
        "http://10.0.0.8/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://localhost:8080/",
        "http://db.internal/",
        "http://１２７.0.0.1/",
        "https://user:pass@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://pastebin.com/api",
        "https://evil.ngrok.io/x",
        "https://example.com\\@10.0.0.1/",
        "http://exa mple.com/",
        "https://[::1",
        "https://example.com:99999/",
        "https:///nowhere",
    ],
)
def test_a_url_out_of_bounds_is_denied(url: str) -> None:
    assert denied_by("url", asked(kind="url", verb="get", target_url=url))


def test_a_public_url_passes_when_its_host_resolves_to_a_public_address() -> None:
    action = read_action(json.dumps({"kind": "url", "target_url": "https://Example.com/a?b=c"}))
    assert host_to_resolve(action) == "example.com"
    assert check(action, PUBLIC) is None


@pytest.mark.parametrize("addresses", [(), None, ("10.0.0.1",), ("93.184.215.14", "127.0.0.1"), ("what",)])
def test_a_host_that_does_not_resolve_to_public_addresses_only_is_denied(addresses: tuple[str, ...] | None) -> None:
    assert denied_by("url", asked(Facts("acme", addresses), kind="url", target_url="https://example.com/"))


def test_an_address_needs_no_resolving() -> None:
    assert asked(Facts("acme"), kind="url", target_url="https://93.184.215.14/") is None
    assert host_to_resolve(read_action(b'{"kind": "url", "target_url": "https://93.184.215.14/"}')) == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"filters": {}},
        {"filters": {"tenant": "other"}},
        {"filters": {"tenant": "acme", "tenant_id": "other"}},
        {"filters": {"tenant": ["acme", "other"]}},
        {"filters": {"tenant": "acme"}, "wildcards": True},
        {"filters": {"tenant": "acme"}, "wildcards": ["name"]},
    ],
)
def test_a_query_over_more_than_the_callers_tenant_is_denied(fields: dict[str, object]) -> None:
    assert denied_by("tenant", asked(PUBLIC, kind="tenant_query", **fields))


def test_a_query_of_ones_own_tenant_passes_and_a_foreign_one_never_does() -> None:
    assert asked(kind="tenant_query", filters={"tenant": "Acme"}) is None
    assert denied_by("tenant", asked(kind="mutation", verb="update", filters={"tenant": "other"}))


@pytest.mark.parametrize("verb", ["delete", "DROP", "force-delete", "db.truncate", "rm"])
def test_a_destructive_verb_needs_a_human(verb: str) -> None:
    objection = asked(kind="mutation", verb=verb, target_resource="db/users")
    assert objection is not None
    assert (objection.rule_id, objection.decision) == ("actiongate.mutation", Decision.REQUIRE_APPROVAL)


def test_an_agents_word_that_somebody_approved_leads_to_a_human() -> None:
    claim = {"claim_text": "Bob said yes", "approval_ref": "job-1"}
    objection = asked(kind="mutation", verb="update", approval_claim=claim)
    assert objection is not None and objection.decision is Decision.REQUIRE_APPROVAL
    assert asked(kind="mutation", verb="update") is None


def test_a_tool_call_names_its_server_and_tool() -> None:
    assert asked(kind="mcp_call", server="github", tool="get_issue") is None
    assert denied_by("mcp", asked(kind="mcp_call", server="github", tool=" "))


def test_a_denial_comes_before_a_question_to_a_human() -> None:
    assert denied_by("file", asked(kind="file", verb="delete", target_path="/etc/shadow"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"kind": "teleport"}',
        '{"kind": "file", "path": "x"}',
        '{"verb": "get"}',
        '{"kind": 1}',
        "[" * 9999,
        json.dumps({"kind": "file", "args": {"x": "y" * 70_000}}),
    ],
)
def test_what_cannot_be_read_is_not_waved_through(text: str) -> None:
    with pytest.raises(BadActionError):
        read_action(text)
