"""Which dead letters a command means; and that it does nothing about many without being told twice."""

from collections.abc import Mapping
from typing import Any

import pytest

from cordum.cli import letters
from cordum.cli.client import Client
from cordum.cli.command import Session
from cordum.cli.errors import CliError, UsageError
from cordum.cli.letters import Choice, How


def choice(*job_ids: str, reason: str = "", topic: str = "", code: str = "", every: bool = False) -> Choice:
    return Choice(job_ids, reason, topic, code, every)


def test_jobs_filters_or_all() -> None:
    assert choice("a", "b").body() == {"job_ids": ["a", "b"]}
    assert choice(reason="timeout", topic="job.x").body() == {"reason": "timeout", "topic": "job.x"}
    assert choice(code="c", every=True).body() == {"code": "c"}
    assert choice(every=True).body() == {"all": True}


@pytest.mark.parametrize(
    "nonsense", [choice(), choice("a", topic="x"), choice("a", every=True), choice(*(str(n) for n in range(501)))]
)
def test_anything_else_makes_no_sense(nonsense: Choice) -> None:
    with pytest.raises(UsageError):
        nonsense.body()


class Gateway(Client):
    """Answers bulk calls from a list, and keeps what was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __exit__(self, *_: object) -> None: ...

    def post(
        self, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self.asked.append({"path": path, **(body or {})})
        return self.answers.pop(0)


class Asked(Session):
    def __init__(self, gateway: Gateway) -> None:
        super().__init__(None, None, None, "table")
        object.__setattr__(self, "gateway", gateway)

    def client(self) -> Client:
        gateway: Gateway = getattr(self, "gateway")  # noqa: B009  # set past the frozen dataclass
        return gateway


def test_nobody_to_ask_means_nothing_is_done() -> None:
    gateway = Gateway({"left": 7, "items": []})
    with pytest.raises(UsageError, match="7 dead letters would be deleted"):
        letters.deal_with(Asked(gateway), "delete", choice(every=True), How(yes=False, dry_run=False, note=""))
    assert [call["dry_run"] for call in gateway.asked] == [True]


def test_it_goes_on_page_by_page_and_says_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"job_id": "c", "code": "dlq_not_retryable", "error": "no longer kept"}
    gateway = Gateway(
        {"done": 1, "left": 2, "items": [{"job_id": "a", "new_job_id": "a-retry-1"}], "failed": [], "next_cursor": 5},
        {"done": 1, "left": 0, "items": [{"job_id": "b", "new_job_id": "b-retry-1"}], "failed": [failed]},
    )
    with pytest.raises(CliError, match="1 of 3 could not be retried"):
        letters.deal_with(Asked(gateway), "retry", choice(code="x"), How(yes=True, dry_run=False, note="why"))
    assert [(call["path"], call.get("cursor"), call["note"]) for call in gateway.asked] == [
        ("/dlq/retry", None, "why"),
        ("/dlq/retry", 5, "why"),
    ]
    told = capsys.readouterr()
    assert told.out.splitlines() == ["a -> a-retry-1", "b -> b-retry-1"]
    assert "c: no longer kept" in told.err and "2 retried, 1 failed" in told.err


def test_a_dry_run_only_lists(capsys: pytest.CaptureFixture[str]) -> None:
    gateway = Gateway({"left": 9, "items": [{"job_id": "a"}, {"job_id": "b"}]})
    letters.deal_with(Asked(gateway), "delete", choice(topic="job.x"), How(yes=False, dry_run=True, note=""))
    told = capsys.readouterr()
    assert told.out.splitlines() == ["a", "b"] and "9 would be deleted (the first 2 are shown)" in told.err
    assert len(gateway.asked) == 1
