"""What the platform remembers for those who govern it: the audit log and the decision log."""
