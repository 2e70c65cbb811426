"""Filters valid requests for a rule that the OpenAPI document cannot express.

JSON Schema cannot express "a number that double precision holds exactly". The document states this rule in prose, and
the API refuses all other numbers (ADR 8). So valid requests must not contain such numbers.
"""

import schemathesis

EXACT_INTEGER_MAX = 2**53


def is_exact(value: object) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= EXACT_INTEGER_MAX
    if isinstance(value, float):
        # Python may write a large float without a fraction in a different form from the generated one.
        return abs(value) <= EXACT_INTEGER_MAX or value != int(value)
    if isinstance(value, dict):
        return all(is_exact(member) for member in value.values())
    if isinstance(value, list):
        return all(is_exact(item) for item in value)
    return True


@schemathesis.hook
def filter_body(context: object, body: object) -> bool:
    return is_exact(body)
