"""Settings of whoever checks what a job brings along (guide section 5)."""

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.protections import Rigour, Strictness


class SchemaSettings(CommonSettings):
    """How strictly the input schemas of topics are meant."""

    schema_enforcement: Strictness = variable(
        "SCHEMA_ENFORCEMENT",
        default=Rigour.WARN,
        text="What becomes of a job whose payload does not match its topic's input schema: off looks at none, warn "
        "logs schema_validation_failed, enforce refuses it at submit and fails it before dispatch; set alike at "
        "gateways and schedulers",
    )
