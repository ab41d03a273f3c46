"""The grammar of a policy document: one module for each part of the language, `parse_policy` puts them together."""
