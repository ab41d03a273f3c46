"""How `job submit` reads its options."""

from pathlib import Path

import pytest

from cordum.cli import jobs
from cordum.cli.errors import UsageError


def body(**given: object) -> dict[str, object]:
    options: dict[str, object] = {
        "prompt": "p",
        "topic": "job.default",
        "labels": [],
        "risk_tags": [],
        "requires": [],
        "capability": "",
        "context": "",
        "priority": "",
        "idempotency_key": "",
    }
    return jobs.request_body(**{**options, **given})  # type: ignore[arg-type]


def test_only_what_was_given_is_sent() -> None:
    assert body() == {"prompt": "p", "topic": "job.default"}


def test_everything_given_is_sent() -> None:
    sent = body(
        labels=["env=prod", "note=a=b"],
        risk_tags=["payment"],
        requires=["gpu"],
        capability="pay",
        context='{"a": [1]}',
        priority="critical",
        idempotency_key="k",
    )
    assert sent["labels"] == {"env": "prod", "note": "a=b"}
    assert sent["context"] == {"a": [1]}
    assert sent["risk_tags"] == ["payment"] and sent["requires"] == ["gpu"]
    assert (sent["capability"], sent["priority"], sent["idempotency_key"]) == ("pay", "critical", "k")


def test_context_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("[1, 2]")
    assert body(context=f"@{tmp_path / 'c.json'}")["context"] == [1, 2]


@pytest.mark.parametrize("label", ["novalue", "=x", ""])
def test_a_label_without_key_or_value(label: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        body(labels=[label])


@pytest.mark.parametrize("context", ["{", "@/nowhere/c.json", "not json"])
def test_a_context_that_cannot_be_read(context: str) -> None:
    with pytest.raises(UsageError, match="--context"):
        body(context=context)
