"""Approvals: jobs that wait for a person's word."""
