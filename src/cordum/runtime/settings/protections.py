"""Protections the guide names whose code is still to come. Asking for one is refused, never silently ignored."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import Flag, parse_word


class Rigour(StrEnum):
    """How strictly a check is meant."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


def _rigour(value: object) -> object:
    return parse_word(Rigour, value) if isinstance(value, str) else value


Strictness = Annotated[Rigour, BeforeValidator(_rigour)]


class GatewayProtections(CommonSettings):
    """Asked for at the gateway (guide sections 3 and 8)."""

    jwt_required: Flag = variable(
        "CORDUM_JWT_REQUIRED", default=False, text="Accept JWTs only; true is refused for now"
    )
    license_required: Flag = variable(
        "CORDUM_LICENSE_REQUIRED", default=False, text="Start with a licence only; true is refused for now"
    )
