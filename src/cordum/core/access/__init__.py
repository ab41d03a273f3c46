"""Who may do what: permissions, roles, callers and the API keys that name them (spec-auth sections 3 and 4)."""
