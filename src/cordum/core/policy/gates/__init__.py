"""Action gates: what an action says about itself, checked before any rule (spec-safety section 8).

A request may carry an action descriptor: which file, URL, tenant or tool it is about to touch. The gates refuse what no
policy should ever have to mention (a path out of its directory, a cloud's metadata service, another tenant's data), and
ask for a human before something is destroyed. They only ever tighten; a request without a descriptor passes them all.
"""

from cordum.core.policy.gates.descriptor import (
    ACTION_LABEL,
    ActionDescriptor,
    ActionKind,
    BadActionError,
    read_action,
)
from cordum.core.policy.gates.gate import Facts, Objection, check, host_to_resolve

__all__ = [
    "ACTION_LABEL",
    "ActionDescriptor",
    "ActionKind",
    "BadActionError",
    "Facts",
    "Objection",
    "check",
    "host_to_resolve",
    "read_action",
]
