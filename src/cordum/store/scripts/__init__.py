"""The Lua scripts, one per atomic step; each touches the one key it is given.

They are called by digest. A server that does not know a script yet (fresh, restarted, or just promoted) says so, and
the command is sent again with the text, which also teaches it.
"""

import hashlib
from importlib import resources
from typing import Final

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script's text and the digest Redis knows it by."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> "Script":
        text = resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
        # SHA-1 is what EVALSHA asks for; nothing depends on its strength.
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


CREATE: Final = Script.load("create")
SETTLE_EVENTS: Final = Script.load("settle_events")
TRANSITION: Final = Script.load("transition")
ANNOTATE: Final = Script.load("annotate")
VOTE: Final = Script.load("vote")
TAKE_PARKED: Final = Script.load("take_parked")
ENTER: Final = Script.load("enter")
RELEASE: Final = Script.load("release")
RENEW: Final = Script.load("renew")
PUT_CONFIG: Final = Script.load("put_config")
COUNT_REQUEST: Final = Script.load("count_request")
APPEND_AUDIT: Final = Script.load("append_audit")
LOG_DECISION: Final = Script.load("log_decision")
MIRROR_POLICY: Final = Script.load("mirror_policy")
REMEMBER_SNAPSHOT: Final = Script.load("remember_snapshot")
PUSH_COMPENSATION: Final = Script.load("push_compensation")
FORGET_ROLLBACK: Final = Script.load("forget_rollback")
ISSUE_SESSION: Final = Script.load("issue_session")

TEXTS: Final = {
    script.sha: script.text
    for script in (
        CREATE,
        SETTLE_EVENTS,
        TRANSITION,
        ANNOTATE,
        VOTE,
        TAKE_PARKED,
        ENTER,
        RELEASE,
        RENEW,
        PUT_CONFIG,
        COUNT_REQUEST,
        APPEND_AUDIT,
        LOG_DECISION,
        MIRROR_POLICY,
        REMEMBER_SNAPSHOT,
        PUSH_COMPENSATION,
        FORGET_ROLLBACK,
        ISSUE_SESSION,
    )
}
