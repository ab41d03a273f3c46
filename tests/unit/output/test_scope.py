"""What a request touches against what its instruction asked for (spec-safety 4.5, vector 19)."""

import json

import pytest

from cordum.core.output.scope import MISSING, Doubt, Scope, ScopeTest

GROCERY = Scope(
    instruction_path="task.instruction", items_path="cart.items", allowed_categories={"grocery": ("dairy",)}
)


def order(instruction: object, *categories: object) -> bytes:
    items = [{"name": f"item {number}", "category": category} for number, category in enumerate(categories)]
    return json.dumps({"task": {"instruction": instruction}, "cart": {"items": items}}).encode()


def allowed(content: bytes, scope: Scope = GROCERY) -> bool:
    return ScopeTest(scope).violation(content) is None


@pytest.mark.parametrize(
    ("content", "within"),
    [
        (order("Do the Grocery shopping", "Dairy"), True),
        (order("grocery", "dairy", " DAIRY "), True),
        (order("grocery"), True),
        (order("grocery", "gift-card"), False),
        (order("grocery", "dairy", "gift-card"), False),
        (order("buy stuff", "dairy"), False),
        (order("grocery", None), False),
        (order("grocery", ""), False),
        (order(7, "dairy"), False),
        (order("", "dairy"), False),
        (b"", False),
        (b"{}", False),
        (b"not json", False),
        (b'{"task": {"instruction": "grocery"}}', False),
        (b"[" * 100_000, False),
        (b"\xff", False),
    ],
)
def test_only_what_was_asked_for_is_within(content: bytes, within: bool) -> None:
    assert allowed(content) is within


def test_a_violation_says_which_item() -> None:
    violation = ScopeTest(GROCERY).violation(order("grocery", "dairy", "Gift-Card"))

    assert violation is not None
    assert violation.type == "scope_violation"
    assert violation.detail == "category gift_card is not within grocery (item 1)"


def test_no_content_is_named_as_such() -> None:
    violation = ScopeTest(GROCERY).violation(b"")

    assert violation is not None
    assert violation.detail == MISSING


def test_doubts_may_be_given_the_benefit() -> None:
    lenient = Scope(
        instruction_path="i",
        items_path="items",
        allowed_categories={"grocery": ("dairy",)},
        on_missing_input=Doubt.ALLOW,
        on_ambiguous=Doubt.ALLOW,
    )

    assert allowed(b"", lenient)
    assert allowed(b"broken", lenient)
    assert allowed(b'{"i": "stuff", "items": [{"category": "gun"}]}', lenient)
    assert not allowed(b'{"i": "grocery", "items": [{"category": "gun"}]}', lenient)


def test_the_longest_intent_counts_and_an_empty_list_allows_all() -> None:
    scope = Scope(
        instruction_path="i", items_path="items", allowed_categories={"gift": ("cards",), "gift shopping": ()}
    )

    assert allowed(b'{"i": "some gift shopping", "items": [{"category": "toys"}]}', scope)
    assert not allowed(b'{"i": "a gift", "items": [{"category": "toys"}]}', scope)


def test_two_intents_of_the_same_length_are_ambiguous() -> None:
    scope = Scope(instruction_path="i", items_path="items", allowed_categories={"food": ("x",), "toys": ("x",)})

    assert not allowed(b'{"i": "food and toys", "items": [{"category": "x"}]}', scope)


def test_aliases_stand_for_intents_and_categories() -> None:
    scope = Scope(
        instruction_path="i",
        items_path="items",
        category_path="kind.name",
        allowed_categories={"grocery": ("dairy",)},
        aliases={"supermarket": "grocery", "Milk Products": "dairy"},
    )

    assert allowed(b'{"i": "go to the supermarket", "items": {"kind": {"name": "milk-products"}}}', scope)
