"""The policy language: parse, compile, evaluate. One evaluator for the kernel, the API, the CLI and the tests."""
