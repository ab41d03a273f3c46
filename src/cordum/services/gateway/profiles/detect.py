"""Which client asks (spec-gateway section 13)."""

from enum import Enum
from typing import Final

_SDK: Final = "cordum-sdk-python/"


class Profile(Enum):
    """Whose form an answer is to have."""

    PLAIN = "plain"
    """Ours, which the dashboard, cordumctl and the guard read."""
    SDK = "sdk"
    """That of the published Python SDK."""


def profile_of(user_agent: str | None, accept: str | None) -> Profile:
    """The form a request asks for: by the SDK's own name, or by `Accept: application/json; profile=openapi`."""
    if user_agent is not None and user_agent.startswith(_SDK):
        return Profile.SDK
    if accept is not None and "profile" in accept and _asks_for_openapi(accept):
        return Profile.SDK
    return Profile.PLAIN


def _asks_for_openapi(accept: str) -> bool:
    for part in accept[:1024].split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind == "application/json" and any(word.replace('"', "") == "profile=openapi" for word in parameters):
            return True
    return False
