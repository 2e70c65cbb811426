import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Plan } from './plan.ts';

/** A deliberate defect, as patches for a copy of the sources, and the invariants that must catch it. */
export interface PlantedDefect {
  readonly name: string;
  readonly patches: readonly { readonly file: string; readonly from: string; readonly to: string }[];
  /** A plan under which the defect shows. */
  readonly plan: Plan;
  /** Names of invariants, of which at least one has to be violated. */
  readonly caughtBy: readonly string[];
}

const step = (atMs: number, fault: string, target: string | null = null, lastsMs = 0) => ({
  atMs,
  fault,
  target,
  lastsMs,
});

export const PLANTED_DEFECTS: readonly PlantedDefect[] = [
  {
    name: 'the attempt guard is removed',
    patches: [
      {
        file: 'src/engine/attempts/settle.sql',
        from: `WHERE u.status = 'PROCESSING' AND u.attempt = i.attempt AND u.worker_id = $1::text`,
        to: `WHERE u.status = 'PROCESSING' AND $1::text IS NOT NULL`,
      },
    ],
    // A frozen worker that wakes may learn that it was presumed dead before it settles anything, or hold none of the long
    // tasks. Then the defect does nothing, so that there are several such moments.
    plan: {
      seed: 201,
      lengthMs: 46_000,
      steps: [
        step(1_500, 'long tasks'),
        step(3_000, 'freeze', 'worker-1', 11_000),
        step(15_500, 'long tasks'),
        step(17_000, 'freeze', 'worker-2', 11_000),
        step(29_500, 'long tasks'),
        step(31_000, 'freeze', 'worker-1', 11_000),
      ],
    },
    caughtBy: ['attemptsSettleOnce', 'everyStartIsLogged'],
  },
  {
    name: 'a release gives the attempt back',
    patches: [
      {
        file: 'src/engine/attempts/settle.sql',
        from: 'SET status = CASE h.verb',
        to: `SET attempt = u.attempt - (h.verb = 'release')::int, status = CASE h.verb`,
      },
      {
        file: 'src/engine/attempts/settle.sql',
        from: '  FROM waiting\n',
        to: `  FROM waiting WHERE verb <> 'release'\n`,
      },
    ],
    // The second group of tasks outlasts the grace period, in whichever worker it runs.
    plan: {
      seed: 202,
      lengthMs: 12_000,
      steps: [
        step(1_500, 'long tasks'),
        step(3_000, 'long tasks'),
        step(4_500, 'terminate', 'worker-1'),
        step(4_500, 'terminate', 'worker-2'),
      ],
    },
    caughtBy: ['tokensNeverRepeat'],
  },
  {
    name: 'a refused start is forgotten',
    patches: [
      {
        file: 'src/engine/attempts/starter.ts',
        from: 'returned.push(...returnedOf(membersOf(result.id), waitAfter(result.verdict, result.waitMs)));',
        to: '',
      },
    ],
    plan: {
      seed: 203,
      lengthMs: 20_000,
      steps: [
        step(1_500, 'burst on the strict queue'),
        step(2_000, 'waiting rows locked', null, 4_000),
        // The bursts leave no gap, so that other tasks overtake the forgotten one until it comes back.
        step(5_000, 'burst on the strict queue'),
        step(9_000, 'burst on the strict queue'),
      ],
    },
    caughtBy: ['orderIsKept'],
  },
  {
    name: 'the last is claimed first',
    patches: [{ file: 'src/engine/order/claim.lua', from: 'ZPOPMIN', to: 'ZPOPMAX' }],
    plan: {
      seed: 204,
      lengthMs: 16_000,
      steps: [step(1_500, 'burst on the strict queue'), step(4_000, 'burst on the strict queue')],
    },
    caughtBy: ['orderIsKept'],
  },
  {
    name: 'one task is lost',
    patches: [
      {
        file: 'src/engine/submit/submit.sql',
        from: 'WHERE key IS NULL OR id IN (SELECT task_id FROM recorded)\n  ORDER BY id\n  ON CONFLICT (id) DO NOTHING',
        to: `WHERE (key IS NULL OR id IN (SELECT task_id FROM recorded)) AND metadata->>'ref' IS DISTINCT FROM 'f101-work-3'\n  ON CONFLICT (id) DO NOTHING`,
      },
    ],
    plan: { seed: 205, lengthMs: 6_000, steps: [step(1_500, 'long tasks')] },
    caughtBy: ['acceptedTasksExistAndEnd'],
  },
  {
    name: 'the pairs of metadata are not written',
    patches: [
      { file: 'src/engine/submit/submit.sql', from: 'WHERE metadata IS NOT NULL', to: 'WHERE metadata IS NULL' },
    ],
    plan: { seed: 210, lengthMs: 6_000, steps: [step(1_500, 'long tasks')] },
    caughtBy: ['pairsFitMetadata'],
  },
  {
    name: 'a requeue forgets the attempt that failed',
    patches: [
      { file: 'src/features/dlq/requeue.sql', from: 'WHERE worker_id IS NOT NULL', to: 'WHERE worker_id IS NULL' },
    ],
    plan: { seed: 206, lengthMs: 8_000, steps: [step(1_500, 'requeue while the zombie runs')] },
    caughtBy: ['attemptsAreStoredOnce'],
  },
  {
    name: 'a task that ends also stays unfinished',
    patches: [
      {
        file: 'src/engine/attempts/settle.sql',
        from: 'DELETE FROM unfinished u\n  USING held h',
        to: `UPDATE unfinished u\n  SET status = 'SCHEDULED', run_at = now() + interval '1 day', worker_id = NULL\n  FROM held h`,
      },
    ],
    plan: { seed: 207, lengthMs: 6_000, steps: [step(1_500, 'long tasks')] },
    caughtBy: ['tasksAreInOneTable'],
  },
  {
    name: 'the attempt that ends a task is stored twice',
    patches: [
      {
        file: 'src/engine/attempts/settle.sql',
        from: '  FROM waiting\n',
        to: `  FROM (SELECT id, attempt, ordinal, started_at, verb, error, result FROM waiting
        UNION ALL SELECT id, attempt, ordinal, started_at, verb, error, result FROM ended) AS w\n`,
      },
    ],
    plan: { seed: 208, lengthMs: 6_000, steps: [step(1_500, 'long tasks')] },
    caughtBy: ['attemptsAreStoredOnce'],
  },
  {
    name: 'a queue that does not keep completed tasks forgets failed ones too',
    patches: [
      {
        file: 'src/engine/attempts/settle.sql',
        from: `WHERE keep_completed OR verb <> 'complete'`,
        to: 'WHERE keep_completed',
      },
    ],
    plan: { seed: 209, lengthMs: 8_000, steps: [step(1_500, 'failures on the fleeting queue')] },
    caughtBy: ['deadLettersAgree', 'tasksEndAsTheyShould'],
  },
];

const PROJECT = resolve(import.meta.dirname, '../..');

/** Makes a copy of the sources with the defect. @returns its root, and a function that deletes it */
export function plant({ name, patches }: PlantedDefect): { root: string; remove(): void } {
  const root = mkdtempSync(join(tmpdir(), 'scheduler-planted-'));
  cpSync(join(PROJECT, 'src'), join(root, 'src'), { recursive: true });
  cpSync(join(PROJECT, 'package.json'), join(root, 'package.json'));
  symlinkSync(join(PROJECT, 'node_modules'), join(root, 'node_modules'));
  for (const { file, from, to } of patches) {
    const path = join(root, file);
    const text = readFileSync(path, 'utf8');
    if (!text.includes(from)) throw new Error(`${name}: ${file} has changed, so the patch no longer applies`);
    writeFileSync(path, text.replace(from, to));
  }
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}
