"""Whom the scheduler believes: worker credentials, sessions, and the gate that asks for both (spec-scheduler 11)."""
