"""The scanners the kernel's policies may name: the built-in ones and those of the operator's file."""

from collections.abc import Iterable
from pathlib import Path

from cordum.core.errors import CordumError
from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.output.scanners_file import MAX_BYTES, ScannersFileError
from cordum.core.policy.errors import Fault
from cordum.runtime import logging, metrics
from cordum.runtime.settings import SafetyKernelSettings

_log = logging.get_logger(__name__)


class ScannersError(CordumError):
    """The scanners file cannot be used."""

    code = "output_scanners_invalid"


def load_scanners(settings: SafetyKernelSettings) -> ScannerSet:
    """The built-in scanners with those of OUTPUT_SCANNERS_PATH; the built-in ones alone when nobody named a file.

    Raises ScannersError when a file was named and is not there, or when it cannot be used.
    """
    path = settings.output_scanners_path
    if not path:
        return SCANNERS
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if "output_scanners_path" in settings.model_fields_set:
            raise ScannersError(f"OUTPUT_SCANNERS_PATH={path} does not exist") from None
        return SCANNERS
    except OSError as error:
        raise ScannersError(f"OUTPUT_SCANNERS_PATH={path} cannot be read: {error.strerror}") from error
    try:
        scanners = ScannerSet.load(data)
    except ScannersFileError as error:
        faults = "; ".join(str(fault) for fault in error.faults[:5])
        raise ScannersError(f"error in OUTPUT_SCANNERS_PATH={path}: {faults}") from error
    _log.info("scanners", event="scanners_loaded", path=path, scanners=list(scanners.names))
    return scanners


def count_refusals(faults: Iterable[Fault]) -> None:
    """Counts what a refused policy names that does not exist or cannot be matched."""
    for fault in faults:
        if "unknown scanner" in fault.message:
            metrics.UNKNOWN_SCANNER.inc()
        elif "pattern" in fault.path or "pattern" in fault.message:
            metrics.REGEX_REJECTED.inc()
