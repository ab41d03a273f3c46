"""Cordum: a control plane for AI agents. Every action is a job; policy decides it before it runs."""

import importlib.util as _importlib_util
import os.path as _path

__version__ = "0.9.7"

# The generated modules of the CAP SDK import each other as `cordum.agent.v1`: they live in its folder and must be found
# beside ours. Finding the SDK does not import it. A program that uses both imports `cordum` before `cap`.
_cap = _importlib_util.find_spec("cap")
if _cap is not None and _cap.origin is not None:
    __path__.append(_path.join(_path.dirname(_cap.origin), "pb", "cordum"))
