import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Attempt } from './attempt.ts';
import { createDeadlines } from './deadlines.ts';

const step = fc.record({ verb: fc.constantFrom('add', 'add', 'settle', 'remove'), pick: fc.nat(), ms: fc.nat(50) });

test('earliest() returns the unsettled running attempt with the earliest deadline after any adds and removes', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const deadlines = createDeadlines();
      const running: Attempt[] = [];
      for (const { verb, pick, ms } of steps) {
        if (verb === 'add') {
          const attempt = { deadlineMs: ms, settled: false, slot: 0 } as Attempt;
          running.push(attempt);
          deadlines.add(attempt);
        } else if (running.length > 0) {
          const attempt = running[pick % running.length] as Attempt;
          if (verb === 'settle') attempt.settled = true;
          else {
            attempt.slot = null;
            running.splice(running.indexOf(attempt), 1);
            deadlines.remove();
          }
        }
        const open = running.filter(({ settled }) => !settled).map(({ deadlineMs }) => deadlineMs);
        expect(deadlines.earliest()?.deadlineMs ?? null).toBe(open.length === 0 ? null : Math.min(...open));
      }
    }),
  );
});
