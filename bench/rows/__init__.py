"""Every row of the table, in the order they run: what wants an idle stack first, what fills it last."""

from bench.rows import dispatch, jobs, kernel, machine, reads, rules, scans, sizes, stack
from bench.rows.row import Row

ALL: tuple[Row, ...] = (
    *machine.ROWS,
    *stack.ROWS,
    *rules.ROWS,
    *scans.ROWS,
    *kernel.ROWS,
    stack.TRIPS,
    *sizes.ROWS,
    *reads.ROWS,
    *jobs.ROWS,
    *dispatch.ROWS,
)
