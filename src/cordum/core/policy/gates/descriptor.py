"""What a request says about the action behind it."""

from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from cordum.core.errors import CordumError

ACTION_LABEL: Final = "_action.descriptor_json"
"""The label in which a request carries its action, as JSON."""
MAX_DESCRIPTOR: Final = 64 * 1024
"""Bytes of JSON."""


class BadActionError(CordumError):
    """The action descriptor cannot be read."""

    code: ClassVar[str] = "bad_action"


class ActionKind(StrEnum):
    FILE = "file"
    URL = "url"
    TENANT_QUERY = "tenant_query"
    MUTATION = "mutation"
    MCP_CALL = "mcp_call"
    PROVENANCE_CHECK = "provenance_check"


class ApprovalClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent's word that somebody approved; worth nothing by itself."""

    claim_text: str = ""
    approval_ref: str = ""


class ActionDescriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action. `filters` are the conditions of a query, `args` what a tool is called with."""

    kind: ActionKind
    verb: str = ""
    server: str = ""
    tool: str = ""
    target_path: str = ""
    target_url: str = ""
    target_resource: str = ""
    filters: dict[str, msgspec.Raw] = {}
    wildcards: bool | list[str] = False
    args: msgspec.Raw = msgspec.Raw(b"{}")
    risk_tags: tuple[str, ...] = ()
    required_entitlement: str = ""
    approval_claim: ApprovalClaim | None = None

    def filter_text(self, name: str) -> str | None:
        """The filter's value when it is one text; None when it is absent or anything else."""
        raw = self.filters.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=str)
        except msgspec.MsgspecError:
            return None


def read_action(text: str | bytes) -> ActionDescriptor:
    """A descriptor from its JSON. Raises BadActionError: an action that cannot be read is not one to wave through."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > MAX_DESCRIPTOR:
        raise BadActionError(f"the action descriptor has {len(data)} bytes; at most {MAX_DESCRIPTOR}")
    try:
        return msgspec.json.decode(data, type=ActionDescriptor)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadActionError(f"the action descriptor cannot be read: {error}") from error
