"""Runs many seeds, or one with its history. See the package."""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tests.simulation.mutants import MUTANTS, mutated
from tests.simulation.world import Report, run

_CHUNK: Final = 25
_MUTANT_SEEDS: Final = 250
"""Seeds in which a broken promise must be noticed; most are within ten."""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Returns the exit code: 0 when nothing is wrong in any seed."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of text must be the same in every process, or a seed would not be.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    if options.mutants:
        return _find_mutants(options.mutants)
    if options.only:
        return _many(options.only, options.processes)
    return _many(range(options.start, options.start + options.seeds), options.processes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happened")
    parser.add_argument("--only", type=int, nargs="+", help="run these seeds")
    parser.add_argument(
        "--mutants", choices=("first", "second", "all"), help="break promises of the product, and find each broken one"
    )
    return parser.parse_args()


def _one(seed: int, *, trace: bool) -> int:
    report = run(seed, trace=trace)
    for line in report.events:
        _say(line)
    for violation in report.violations:
        _say(f"VIOLATION {violation}")
    _say(f"seed {seed}: {report.jobs} jobs, {report.seconds:.0f} s of virtual time, {report.faults}")
    return 1 if report.violations else 0


def _many(seeds: Sequence[int], processes: int) -> int:
    began = time.monotonic()
    jobs = ended = lost = doubled = done = 0
    faults: Counter[str] = Counter()
    failed: list[Report] = []
    virtual = 0.0
    for report in _reports(seeds, processes):
        done += 1
        jobs += report.jobs
        ended += report.ended_once
        lost += report.lost
        doubled += report.doubled
        virtual += report.seconds
        faults.update(report.faults)
        if report.violations:
            failed.append(report)
            _say(f"seed {report.seed} FAILED: {report.violations[0][:300]}")
    took = time.monotonic() - began
    _say(f"{done} seeds in {took:.1f} s: {done / took:.1f} seeds/s; {virtual / 3600:.1f} hours of virtual time")
    _say(f"jobs: {jobs} accepted, {ended} ended exactly once, {lost} lost; {doubled} dispatches run twice")
    _say(f"faults injected: {sum(faults.values())}")
    for kind, count in sorted(faults.items()):
        _say(f"  {kind:<16} {count}")
    for report in failed:
        _say(f"seed {report.seed}: python -m tests.simulation --seed {report.seed} --trace")
        for violation in report.violations[:3]:
            _say(f"    {violation[:500]}")
    _say(f"{len(failed)} of {done} seeds failed")
    return 1 if failed else 0


def _find_mutants(which: str) -> int:
    """Puts one fault after the other into the product; each must be found within so many seeds."""
    names = list(MUTANTS)
    chosen = {"first": names[::2], "second": names[1::2], "all": names}[which]
    missed = 0
    gc.disable()
    for name in chosen:
        with mutated(name):
            found = next((report for report in map(run, range(_MUTANT_SEEDS)) if report.violations), None)
        gc.collect()
        if found is None:
            missed += 1
            _say(f"{name}: not found within {_MUTANT_SEEDS} seeds")
        else:
            _say(f"{name}: found by seed {found.seed}: {found.violations[0][:150]}")
    return 1 if missed else 0


def _reports(seeds: Sequence[int], processes: int) -> Iterator[Report]:
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    if processes <= 1:
        for chunk in chunks:
            yield from _chunk(chunk)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for reports in pool.imap_unordered(_chunk, chunks):
            yield from reports


def _chunk(seeds: Sequence[int]) -> list[Report]:
    # A world is one heap of cycles, thrown away at its end: looking for garbage while it lives finds none.
    gc.disable()
    try:
        return [run(seed) for seed in seeds]
    finally:
        gc.enable()
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
