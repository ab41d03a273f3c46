"""The benchmark behind `make bench`: drives a running stack through its public interfaces and prints one table.

The driver is light on purpose (raw asyncio protocols, requests built once), so that what is measured is the stack.
What each row means and how to run a part of it: docs/guides/benchmarks.md.
"""

# Before any `cap` module: both provide `cordum.agent`, and ours makes room for the SDK's.
import cordum as cordum
