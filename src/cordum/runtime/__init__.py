"""What every process needs and no process owns: settings, clock, logs, metrics, health, TLS, start and stop."""
