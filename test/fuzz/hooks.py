"""What the OpenAPI document cannot say of valid requests.

JSON Schema has no word for "a number that double precision holds exactly". The document says so in prose, and the API
refuses all others (ADR 8). So they are not made where a request is to be a valid one.
"""

import schemathesis

EXACT_INTEGER_MAX = 2**53


def is_exact(value: object) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= EXACT_INTEGER_MAX
    if isinstance(value, float):
        # Python writes a large float without its fraction in another form than it was made from.
        return abs(value) <= EXACT_INTEGER_MAX or value != int(value)
    if isinstance(value, dict):
        return all(is_exact(member) for member in value.values())
    if isinstance(value, list):
        return all(is_exact(item) for item in value)
    return True


@schemathesis.hook
def filter_body(context: object, body: object) -> bool:
    return is_exact(body)
