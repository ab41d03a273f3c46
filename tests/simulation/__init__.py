"""The real scheduler in a simulated world: one event loop in virtual time, one seed, one history.

Bus, store, kernel, workers and clocks are simulated; everything between them is the code that is shipped. A seed
decides what goes wrong and when, so what a seed has found once it finds every time.

    python -m tests.simulation --seeds 10000
    python -m tests.simulation --seed 4711 --trace
"""

import cordum  # noqa: F401  # first of all: CAP brings a package of the same name, and ours makes room for both
