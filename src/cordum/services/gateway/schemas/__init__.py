"""JSON Schemas that jobs are held to: the routes of the registry, the check at submit (spec-gateway 3 and 9)."""
