"""`cordumctl policy lint`."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from cordum.cli import output
from cordum.cli.policy.files import excerpt, read_bytes
from cordum.core.policy.analysis.lint import lint_source
from cordum.core.policy.analysis.note import Level, Note
from cordum.core.policy.errors import Fault, PolicyError

_STYLES = {Level.ERROR: "red", Level.WARNING: "yellow", Level.HINT: "dim"}


class FileReport(msgspec.Struct, frozen=True):
    """What lint says about one file; `faults` are reasons why it cannot be loaded at all."""

    file: str
    ok: bool
    faults: tuple[Fault, ...]
    notes: tuple[Note, ...]


def run(files: Sequence[Path], *, strict: bool, wants_json: bool) -> int:
    """Lints and prints; gives the exit code: 1 on errors, with `strict` on warnings as well."""
    bad = (Level.ERROR, Level.WARNING) if strict else (Level.ERROR,)
    reports = []
    for file in files:
        data = read_bytes(file)
        try:
            notes = lint_source(data)
        except PolicyError as error:
            reports.append(FileReport(str(file), False, error.faults, ()))
            if not wants_json:
                for fault in error.faults:
                    output.console().print(Text(excerpt(str(file), data, fault)), soft_wrap=True)
            continue
        reports.append(FileReport(str(file), all(note.level not in bad for note in notes), (), notes))
        if not wants_json:
            for note in notes:
                _print(str(file), note)
    if wants_json:
        output.print_json({"files": msgspec.to_builtins(reports)})
    else:
        notes_seen = sum(len(report.notes) + len(report.faults) for report in reports)
        if not notes_seen:
            output.notice("nothing to say")
    return 0 if all(report.ok for report in reports) else 1


def _print(file: str, note: Note) -> None:
    place = f"{file}:{note.line}: " if note.line else f"{file}: "
    head = Text(place)
    head.append(note.level.value, _STYLES[note.level])
    head.append(f" [{note.kind.value}] ")
    rule = f"{note.rule_id}: " if note.rule_id else ""
    head.append(output.cell(f"{rule}{note.message}").plain)
    output.console().print(head, soft_wrap=True)
    if note.witness is not None:
        output.console().print(Text(f"    {json.dumps(note.witness, ensure_ascii=False)}", "dim"), soft_wrap=True)
