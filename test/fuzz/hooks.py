"""Filters valid requests for rules that the OpenAPI document cannot express, and states in prose.

JSON Schema cannot express "a number that double precision holds exactly", and the API refuses all other numbers (ADR 8).
Nor can it say that no two tasks of a batch have the same idempotency key, or that the action of a task decides what its
payload is. Some actions of the workers under test misbehave on purpose, and the fuzzer learns their names from `/workers`.
"""

import re

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


def has_different_keys(body: object) -> bool:
    tasks = body.get("tasks") if isinstance(body, dict) else None
    if not isinstance(tasks, list):
        return True
    keys = [task["idempotency_key"] for task in tasks if isinstance(task, dict) and "idempotency_key" in task]
    return all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)


SPECIAL_ACTION = re.compile(r"^(http\.request|kubernetes\.job|chaos\..*)$")


def has_plain_actions(body: object) -> bool:
    if not isinstance(body, dict):
        return True
    payload = body.get("payload")
    actions = [body.get("action"), payload.get("action") if isinstance(payload, dict) else None]
    tasks = body.get("tasks")
    return not any(isinstance(action, str) and SPECIAL_ACTION.match(action) for action in actions) and all(
        has_plain_actions(task) for task in (tasks if isinstance(tasks, list) else [])
    )


@schemathesis.hook
def filter_body(context: object, body: object) -> bool:
    return is_exact(body) and has_different_keys(body) and has_plain_actions(body)


@schemathesis.hook
def filter_path_parameters(context: object, path_parameters: object) -> bool:
    # `GET /session` has null instead of an id for a request without a session. The fuzzer would take it for an id.
    return not isinstance(path_parameters, dict) or path_parameters.get("id", "") not in (None, "null")
