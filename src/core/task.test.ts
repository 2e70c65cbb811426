import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isLegal, isTerminal, TASK_STATUSES, TRANSITIONS, VERBS, type TaskStatus, type Verb } from './task.ts';

describe('TRANSITIONS', () => {
  it('leave a terminal status only with a requeue', () => {
    for (const verb of VERBS) {
      const fromTerminal = TASK_STATUSES.filter(
        (status) => isTerminal(status) && TRANSITIONS[verb].from.includes(status),
      );
      expect(fromTerminal).toEqual(verb === 'requeue' ? ['FAILED'] : []);
    }
  });

  it('reach PROCESSING only with a start, and reach every status', () => {
    const starters = VERBS.filter(
      (verb) => TRANSITIONS[verb].to.includes('PROCESSING') && !TRANSITIONS[verb].from.includes('PROCESSING'),
    );
    expect(starters).toEqual(['start']);
    for (const status of TASK_STATUSES) {
      expect(VERBS.some((verb) => TRANSITIONS[verb].to.includes(status))).toBe(true);
    }
  });

  it('match the diagram in docs/internals.md', () => {
    const text = readFileSync(new URL('../../docs/internals.md', import.meta.url), 'utf8');
    const diagram = /```mermaid\s+stateDiagram-v2([\s\S]*?)```/.exec(text)?.[1] ?? '';
    const arrows = [...diagram.matchAll(/^\s*(\S+) --> (\S+): (.+)$/gm)].flatMap(([, from, to, verbs]) =>
      (verbs as string).split(',').map((verb) => `${verb.trim()} ${from === '[*]' ? 'null' : from} ${to}`),
    );
    expect(arrows.toSorted()).toEqual(legalArrows().toSorted());
  });
});

/**
 * Every (verb, from, to) that can happen. The diagram draws the cancel of a running task as a loop, because it only
 * asks the worker to stop.
 */
function legalArrows(): string[] {
  const arrows: string[] = [];
  for (const verb of VERBS) {
    for (const from of TRANSITIONS[verb].from) {
      for (const to of TRANSITIONS[verb].to) if (isDrawn(verb, from, to)) arrows.push(`${verb} ${from} ${to}`);
    }
  }
  return arrows;
}

function isDrawn(verb: Verb, from: TaskStatus | null, to: TaskStatus): boolean {
  if (verb === 'cancel') return (from === 'PROCESSING') === (to === 'PROCESSING');
  return isLegal(verb, from, to);
}
