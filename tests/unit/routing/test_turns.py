"""Whose turn it is: urgent first without starving anybody, tenants and topics in their turns."""

from collections import Counter

import pytest

from cordum.core.ids import TenantId
from cordum.core.routing.turns import Rank, Turns, rank_of

ACME, UMBRELLA, WAYNE = TenantId("acme"), TenantId("umbrella"), TenantId("wayne")


def turns_of(*waiting: tuple[Rank, TenantId, str]) -> Turns[str]:
    turns: Turns[str] = Turns()
    for rank, tenant, leaf in waiting:
        turns.join(rank, tenant, leaf)
    return turns


@pytest.mark.parametrize(
    ("priority", "rank"),
    [(0, Rank.INTERACTIVE), (1, Rank.INTERACTIVE), (2, Rank.BATCH), (3, Rank.CRITICAL), (17, Rank.INTERACTIVE)],
)
def test_caps_priorities_have_three_ranks(priority: int, rank: Rank) -> None:
    assert rank_of(priority) is rank


def test_nobody_waits_nobody_has_a_turn() -> None:
    turns = turns_of()

    assert not turns and turns.next() is None and turns.best is None


def test_tenants_have_their_turns_however_many_topics_each_has() -> None:
    turns = turns_of(
        *((Rank.INTERACTIVE, ACME, f"a{number}") for number in range(3)), (Rank.INTERACTIVE, UMBRELLA, "u")
    )

    assert [turns.next() for _ in range(6)] == ["a0", "u", "a1", "u", "a2", "u"]


def test_a_newcomer_waits_one_round_at_the_most() -> None:
    turns = turns_of((Rank.BATCH, ACME, "a"), (Rank.BATCH, UMBRELLA, "u"))
    turns.next()
    turns.join(Rank.BATCH, WAYNE, "w")
    turns.join(Rank.BATCH, ACME, "a")  # waits already and keeps its place

    assert [turns.next() for _ in range(3)] == ["u", "a", "w"]


def test_the_critical_go_first_and_nobody_starves() -> None:
    turns = turns_of((Rank.BATCH, ACME, "batch"), (Rank.INTERACTIVE, ACME, "plain"), (Rank.CRITICAL, ACME, "critical"))
    assert turns.best is Rank.CRITICAL

    given = [turns.next() for _ in range(160)]

    assert given[:7] == ["critical"] * 7
    counts = Counter(given)
    assert counts["critical"] > counts["plain"] >= 160 // 9 > counts["batch"] >= 160 // 17
    for at in range(160 - 17):
        assert "batch" in given[at : at + 17] and "plain" in given[at : at + 9]


def test_once_the_urgent_are_gone_nothing_is_owed() -> None:
    turns = turns_of((Rank.CRITICAL, ACME, "critical"), (Rank.INTERACTIVE, ACME, "plain"))
    for _ in range(7):
        turns.next()
    turns.leave(Rank.INTERACTIVE, ACME, "plain")
    turns.join(Rank.INTERACTIVE, ACME, "plain")

    assert turns.next() == "critical"

    turns.leave(Rank.CRITICAL, ACME, "critical")
    assert turns.next() == "plain" and turns.best is Rank.INTERACTIVE
    turns.leave(Rank.INTERACTIVE, ACME, "plain")
    turns.leave(Rank.INTERACTIVE, ACME, "plain")  # leaving twice is no matter
    assert not turns
