"""Asking the safety kernel over HTTP."""
