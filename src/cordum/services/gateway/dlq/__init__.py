"""The dead-letter queue: what ended badly, and the ways out of it."""
