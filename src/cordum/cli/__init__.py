"""cordumctl: the operator's hand. Everything it does goes through the public API; `up` and `demo` start a stack."""
