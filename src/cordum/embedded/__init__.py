"""The whole stack on one machine: real servers and the real services as supervised child processes.

`Stack` is what `cordumctl up`, `cordumctl demo`, the tests and the benchmark start. See docs/architecture/embedded.md.
"""
