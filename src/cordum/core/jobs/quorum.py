"""Whose word counts on a parked job, and when enough people have said yes (spec-safety section 11, "n-of-m")."""

from collections.abc import Sequence

import msgspec

from cordum.core.ids import Micros
from cordum.core.policy.decision import ApprovalTerms


class Vote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person's yes.

    Attributes:
        who: what tells people apart: `principal:<id>` where the credential names one, else `apikey:<16 hex>`.
        by: the name that records show.
        at: microseconds, in decimal: the script that keeps votes must not round it.
    """

    who: str
    by: str
    role: str
    at: str = ""
    reason: str = ""
    note: str = ""


def may_decide(terms: ApprovalTerms, role: str, escalated_at: Micros) -> bool:
    """Whether somebody of this role may approve or reject: any role when the terms name none."""
    if not terms.roles:
        return True
    roles = terms.roles + terms.escalate_to if escalated_at else terms.roles
    return role.casefold() in {name.casefold() for name in roles}


def deciding_roles(terms: ApprovalTerms, escalated_at: Micros) -> tuple[str, ...]:
    """The roles whose word counts now; empty = every role that may approve."""
    if not terms.roles:
        return ()
    joined = terms.escalate_to if escalated_at else ()
    return tuple(dict.fromkeys(terms.roles + joined))


def enough(votes: Sequence[Vote], terms: ApprovalTerms, escalated_at: Micros) -> bool:
    """Whether these votes meet the terms: enough different people, each of a role that may decide."""
    people = {vote.who for vote in votes if may_decide(terms, vote.role, escalated_at)}
    return len(people) >= max(terms.required, 1)
