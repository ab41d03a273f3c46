"""Log lines of services as people read them: the JSON ones in one short line, others as they are."""

import json

_LONGEST = 400
_SAID_ELSEWHERE = frozenset(
    {"time", "level", "msg", "event", "service", "instance", "logger", "stack", "pid", "version"}
)


def readable(line: str) -> str:
    """One line, at most some hundred characters; of a traceback the last line, which says what happened."""
    try:
        entry = json.loads(line)
    except ValueError:
        return _cut(line)
    if not isinstance(entry, dict) or "msg" not in entry:
        return _cut(line)
    parts = [str(entry.get("time", ""))[11:23], str(entry.get("level", "")), " ".join(str(entry["msg"]).split())]
    parts += [f"{name}={value}" for name, value in entry.items() if name not in _SAID_ELSEWHERE]
    stack = str(entry.get("stack") or "").strip().splitlines()
    if stack and "error" not in entry:
        parts.append(stack[-1])
    return _cut(" ".join(part for part in parts if part))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
