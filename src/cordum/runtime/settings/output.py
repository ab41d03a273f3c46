"""Settings of the fail modes and of the output policy (spec-safety sections 3 and 10)."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import BeforeValidator

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import Count, Flag, parse_word

_MEBIBYTE: Final = 1024 * 1024


class FailMode(StrEnum):
    """What holds when nobody can be asked: nothing passes, or everything does, loudly."""

    CLOSED = "closed"
    OPEN = "open"


def _fail_mode(value: object) -> object:
    return parse_word(FailMode, value) if isinstance(value, str) else value


FailModeWord = Annotated[FailMode, BeforeValidator(_fail_mode)]


class InputFailSettings(CommonSettings):
    """What becomes of jobs while the safety kernel cannot be reached."""

    policy_check_fail_mode: FailModeWord = variable(
        "POLICY_CHECK_FAIL_MODE",
        default=FailMode.CLOSED,
        text="Jobs while the safety kernel gives no answer: closed, they wait; open, they run, counted and audited",
    )


class OutputPolicySettings(CommonSettings):
    """How results are checked before they are released."""

    output_policy_enabled: Flag = variable(
        "OUTPUT_POLICY_ENABLED", default=False, text="Check what workers answer before anybody can read it"
    )
    output_policy_fail_mode: FailModeWord = variable(
        "OUTPUT_POLICY_FAIL_MODE",
        default=FailMode.CLOSED,
        text="Results nobody could check: closed, they are held and then quarantined; open, they are released",
    )
    output_meta_timeout_ms: Count = variable(
        "CORDUM_OUTPUT_META_TIMEOUT_MS",
        default=500,
        least=1,
        most=60_000,
        text="How long the check of a result without content may take, milliseconds",
    )
    output_content_timeout_ms: Count = variable(
        "CORDUM_OUTPUT_CONTENT_TIMEOUT_MS",
        default=5_000,
        least=1,
        most=120_000,
        text="How long the check of a result with content may take, milliseconds",
    )
    output_max_bytes: Count = variable(
        "CORDUM_OUTPUT_MAX_BYTES",
        default=4 * _MEBIBYTE,
        least=1024,
        most=12 * _MEBIBYTE,
        text="Most bytes of a result that are checked; what a longer one hides counts as found",
    )
