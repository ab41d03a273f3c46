"""What can be said about a policy without running it: lint, tests with coverage, and what a change would change.

Every request these modules show (a witness) was put to the real evaluator first.
"""
