"""What `cordumctl doctor boundary` looks at: the operator checks of the production guide, section 5."""
