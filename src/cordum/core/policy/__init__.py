"""The policy language: parse, compile, evaluate. One evaluator for the kernel, the API, the CLI and the tests.

`evaluate(compile_policy(parse_policy(data)), policy_request("job.demo.echo", tenant="acme"))` is the whole of it.
"""
