"""What is written down about who did what: the event, and the chain of hashes that shows when one was changed."""
