import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { faultOf } from './faults/index.ts';
import { FIXED_PLANS, type FixedPlan } from './fixed-plans.ts';
import { plant, PLANTED_DEFECTS, type PlantedDefect } from './planted-defects.ts';
import { measureRebuild, REBUILD } from './rebuild.ts';
import { writeReport } from './report.ts';
import { runChaos, type Run } from './run.ts';
import { SHORT_SETTINGS } from './settings.ts';

/** The rows of the failure table. A full suite has to test all of them. */
export const FAILURE_TABLE = [
  'API between commit and enqueue',
  'Redis unreachable at submit',
  'Redis loses its data, stops or refuses writes',
  'PostgreSQL unreachable at submit',
  'PostgreSQL unreachable at start or settle',
  'worker SIGKILL / node loss',
  'worker SIGTERM',
  'worker frozen, then back (zombie)',
  'reclaimer dies half-way',
  'two reclaimers at once',
  'the CronJob is suspended, late or cannot start',
  'a task that kills its worker',
  'a handler that blocks the event loop or ignores its signal',
] as const;

interface Tally {
  passed: number;
  failed: number;
}

const DIRECTORY = resolve(import.meta.dirname, '../../.local/test-faults');
const say = (text: string): void => void process.stdout.write(`${text}\n`);

/**
 * Runs fixed plans with fixed seeds. `short` contains the most likely faults; the full suite covers every row of the
 * failure table and the planted defects. Each invariant of a run, fault, row and planted defect counts as one test.
 */
export async function runSuite(parts: readonly string[]): Promise<boolean> {
  const tally: Tally = { passed: 0, failed: 0 };
  const rows = new Set<string>();
  mkdirSync(DIRECTORY, { recursive: true });
  for (const part of parts) {
    const startedAt = performance.now();
    if (part === 'planted') {
      await testAllPlanted(tally);
    } else if (part.startsWith('planted:')) {
      for (const defect of PLANTED_DEFECTS)
        if (part.endsWith(String(defect.plan.seed))) await testPlanted(defect, tally);
    } else if (part === 'rebuild') {
      await testRebuild(tally);
    } else if (part === 'rows') {
      for (const row of FAILURE_TABLE) count(tally, rows.has(row), `failure table: ${row}`, 'no fault has tested it');
    } else {
      const run = await testPlan(part, FIXED_PLANS[part] ?? unknownPart(part), tally);
      for (const { fault, failed, skipped } of run.injected)
        if (!failed && !skipped) for (const row of faultOf(fault).rows) rows.add(row);
    }
    say(`${part}: ${((performance.now() - startedAt) / 1_000).toFixed(0)} s`);
  }
  say(`${tally.passed} passed, ${tally.failed} failed`);
  return tally.failed === 0;
}

export const FULL_SUITE = ['processes', 'stores', 'failovers', 'cluster', 'rebuild', 'planted', 'rows'] as const;

async function testPlan(name: string, fixed: FixedPlan, tally: Tally): Promise<Run> {
  const directory = join(DIRECTORY, name);
  const run = await runChaos({ ...fixed, directory });
  const report = writeReport(run, directory);
  for (const { invariant, violations } of run.verdicts) {
    const first = violations[0];
    const what = `${violations.length} violations, such as ${first?.taskId ?? ''} ${first?.message ?? ''}; ${report}`;
    count(tally, violations.length === 0, `${name}: ${invariant}`, what);
  }
  for (const { fault, outcome } of run.injected.filter(({ skipped }) => skipped)) say(`skipped ${fault}: ${outcome}`);
  for (const { fault, target, failed, outcome } of run.injected.filter(({ skipped }) => !skipped))
    count(tally, !failed, `${name}: ${fault}${target === null ? '' : ` on ${target}`}`, outcome);
  return run;
}

async function testRebuild(tally: Tally): Promise<void> {
  const { tasks, firstStartMs, wholeMs, inOrder } = await measureRebuild(join(DIRECTORY, 'rebuild'));
  say(`rebuild: ${tasks} tasks; first start after ${firstStartMs} ms, whole after ${wholeMs} ms`);
  const about = `rebuild of ${tasks} waiting tasks`;
  count(tally, firstStartMs <= REBUILD.firstStartMs, `${about}: first start`, `after ${firstStartMs} ms`);
  count(tally, wholeMs <= REBUILD.wholeMs, `${about}: whole`, `after ${wholeMs} ms`);
  count(tally, inOrder, `${about}: order`, 'the order in Redis differs from that in PostgreSQL');
}

/** Tests all planted defects, two in parallel, because they mostly wait. */
async function testAllPlanted(tally: Tally): Promise<void> {
  const left = [...PLANTED_DEFECTS];
  const lane = async (): Promise<void> => {
    for (let defect = left.shift(); defect !== undefined; defect = left.shift()) await testPlanted(defect, tally);
  };
  await Promise.all([lane(), lane()]);
}

/** Tests the checker itself: it has to catch the defect. */
async function testPlanted(defect: PlantedDefect, tally: Tally): Promise<void> {
  const { root, remove } = plant(defect);
  try {
    const directory = join(DIRECTORY, `planted-${defect.plan.seed}`);
    const settings = { ...SHORT_SETTINGS, postgresClockAheadMs: 0, restMs: 30_000 };
    const run = await runChaos({ plan: defect.plan, settings, directory, root });
    writeReport(run, directory);
    const broken = run.verdicts.filter(({ violations }) => violations.length > 0).map(({ invariant }) => invariant);
    const caught = defect.caughtBy.some((invariant) => broken.includes(invariant));
    count(tally, caught, `planted: ${defect.name}`, `not caught; broken invariants: ${broken.join(', ') || 'nothing'}`);
    if (caught) say(`planted: ${defect.name}: caught by ${broken.join(', ')}`);
  } finally {
    remove();
  }
}

function count(tally: Tally, good: boolean, name: string, problem: string): void {
  if (good) tally.passed++;
  else {
    tally.failed++;
    say(`FAILED ${name}: ${problem}`);
  }
}

function unknownPart(part: string): never {
  throw new Error(
    `unknown part: ${part}; known parts are ${[...Object.keys(FIXED_PLANS), 'rebuild', 'planted', 'rows'].join(', ')}`,
  );
}
