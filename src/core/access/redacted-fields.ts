import { DEFAULT_ACTION } from '../task.ts';
import { createNamePatterns } from './name-patterns.ts';
import { branchTooMuch, createRedactJson, type RedactJson } from './redact-json.ts';
import type { RedactionPath } from './redaction-path.ts';

/** What is hidden in the payloads, results and progress of the actions that a pattern matches. */
export interface RedactionRule {
  /** The name of an action, a beginning such as `payment.*`, or `*` for all actions. */
  readonly action: string;
  readonly paths: readonly RedactionPath[];
}

/** Replaces what is hidden for one action. */
export interface ActionRedaction {
  /** In a payload, a result or a progress. */
  readonly content: RedactJson;
  /** In the JSON of a task, which has its payload as a member. The paths begin with that member. */
  readonly task: RedactJson;
}

/** Finds what is hidden for an action. All patterns that match it count. */
export interface RedactedFields {
  /** @returns null if nothing is hidden, so that the text need not be looked at */
  of(action: string | null): ActionRedaction | null;
}

export function createRedactedFields(rules: readonly RedactionRule[]): RedactedFields {
  const matching = createRuleSearch(rules);
  // An action has all rules of its set, and there are not many sets. Names of actions are chosen by clients.
  const sets = new Map<string, ActionRedaction>();
  return {
    of(action) {
      if (rules.length === 0) return null;
      const found = matching(action ?? DEFAULT_ACTION);
      if (found.length === 0) return null;
      const id = found.join(' ');
      const known = sets.get(id) ?? redactionOf(found.flatMap((i) => rules[i]?.paths ?? []));
      sets.set(id, known);
      return known;
    },
  };
}

/** Makes a function that returns the numbers of the rules for an action. */
function createRuleSearch(rules: readonly RedactionRule[]): (action: string) => number[] {
  // No name is reserved here: `*` also protects the actions that have to be granted by name.
  const patterns = rules.map(({ action }) => createNamePatterns([action], []));
  return (action) => patterns.flatMap(({ matches }, i) => (matches(action) ? [i] : []));
}

/** Names no action, since names have no control characters. */
const ANY_NAME = '\0';

/** Returns the rules whose paths, with those of all other rules for the same actions, cannot be followed fast enough. */
export function rulesThatBranchTooMuch(rules: readonly RedactionRule[]): RedactionRule[] {
  const matching = createRuleSearch(rules);
  return rules.filter(({ action }) =>
    branchTooMuch(matching(action.replace(/\*$/, ANY_NAME)).flatMap((i) => rules[i]?.paths ?? [])),
  );
}

function redactionOf(paths: readonly RedactionPath[]): ActionRedaction {
  const inTask = paths.map(({ text, steps }) => insideOf('payload', text, steps));
  return { content: createRedactJson(paths), task: createRedactJson(inTask, 1) };
}

/** Makes a path of the whole task from one of a part of it. */
export function insideOf(member: string, text: string, steps: RedactionPath['steps']): RedactionPath {
  return { text: `$.${member}${text.slice(1)}`, steps: [{ kind: 'child', key: member }, ...steps] };
}
