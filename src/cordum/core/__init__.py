"""Decisions. Everything here is pure: no I/O, no clock, no event loop, no environment.

State, event and `now` come in; the new state and what to do come out. Services do the doing.
"""
