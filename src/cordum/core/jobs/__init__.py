"""The job: its record, its states, and every move between them."""
