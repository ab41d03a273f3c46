"""What `cordumctl doctor redis` looks at: the cluster health of the production guide, section 11b, and its like."""
