import { memberNames } from '../core/access/json-positions.ts';
import { isNamePattern } from '../core/access/name-patterns.ts';
import { rulesThatBranchTooMuch, type RedactionRule } from '../core/access/redacted-fields.ts';
import { parseRedactionPath, type RedactionPath } from '../core/access/redaction-path.ts';
import { messageOf } from '../core/errors.ts';
import { ACTION_LENGTH_MAX } from '../core/task.ts';

const ACTIONS_MAX = 1_000;
const PATHS_MAX = 100;

const FORM = 'expected a JSON object such as {"payment.charge": ["$.card.number"], "*": ["$.password"]}';
const ACTION_RULE = `expected the name of an action, a beginning such as payment.*, or * for all, of 1 to ${ACTION_LENGTH_MAX} characters`;

/** Something that is wrong, with the part of the text that it concerns. */
export interface FieldsProblem {
  readonly message: string;
  readonly given: unknown;
}

/**
 * Reads what is hidden in the payloads, results and progress of actions.
 * @param problems takes everything that is wrong; the rules count only if nothing is
 */
export function parseRedactedFields(text: string, problems: FieldsProblem[]): RedactionRule[] {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    problems.push({ message: `${FORM}; ${messageOf(error)}`, given: text.slice(0, 60) });
    return [];
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    problems.push({ message: FORM, given: text.slice(0, 60) });
    return [];
  }
  const actions = memberNames(text);
  if (actions.length > ACTIONS_MAX) {
    problems.push({ message: `expected at most ${ACTIONS_MAX} actions`, given: actions.length });
    return [];
  }
  // Of two members with one name, a parser keeps the last. What the other one lists would be shown.
  for (const action of actions.filter((name, i) => actions.indexOf(name) !== i))
    problems.push({ message: 'an action is listed twice; expected all its paths in one list', given: action });
  const rules = Object.entries(given).map(([action, paths]) => {
    if (!isActionOrPattern(action)) problems.push({ message: ACTION_RULE, given: action });
    return { action, paths: pathsOf(action, paths, problems) };
  });
  for (const { action, paths } of rulesThatBranchTooMuch(rules)) {
    const message = `${action}: its paths lead to too many places, with those of other patterns for the same actions; expected fewer paths with .. and *`;
    problems.push({
      message,
      given: paths
        .map((path) => path.text)
        .join(' ')
        .slice(0, 200),
    });
  }
  return rules;
}

/** Names of actions may have any characters, but a star belongs to patterns. */
function isActionOrPattern(action: string): boolean {
  if (action.includes('*')) return isNamePattern(action);
  return action.length >= 1 && action.length <= ACTION_LENGTH_MAX;
}

function pathsOf(action: string, given: unknown, problems: FieldsProblem[]): RedactionPath[] {
  if (!Array.isArray(given) || given.length === 0 || given.length > PATHS_MAX) {
    const amount = Array.isArray(given) ? `a list of ${given.length}` : given;
    problems.push({ message: `${action}: expected a list of 1 to ${PATHS_MAX} paths`, given: amount });
    return [];
  }
  return given.flatMap((text: unknown) => {
    const path = typeof text === 'string' ? parseRedactionPath(text) : 'expected a path such as $.card.number';
    if (typeof path === 'object') return [path];
    problems.push({ message: `${action}: ${path}`, given: text });
    return [];
  });
}
