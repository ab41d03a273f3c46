"""What `cordumctl policy ...` does."""
