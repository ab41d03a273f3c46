"""Cordum: a control plane for AI agents. Every action is a job; policy decides it before it runs."""

__version__ = "0.9.7"
