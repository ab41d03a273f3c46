"""A row: its goal, what of the stack it needs, and how one repeat is measured."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.goals import Goal
from bench.lab import Effort, Lab
from bench.stats import Run

Measure = Callable[[Lab, Effort], Awaitable[Run]]


@dataclass(frozen=True)
class Row:
    """`needs` names fields of `Addresses`; without them the row is left out and the table says so.

    `warm` rows run once, shorter and unmeasured, before their repeats.
    """

    goal: Goal
    measure: Measure
    needs: tuple[str, ...] = ()
    warm: bool = True
    note: str = ""
