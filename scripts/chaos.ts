import { readFileSync, writeFileSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { FAULTS } from '../test/chaos/faults/index.ts';
import { createPlan, printPlan, type Plan } from '../test/chaos/plan.ts';
import type { RedisKind } from '../test/chaos/redis-under-test.ts';
import { writeReport } from '../test/chaos/report.ts';
import { runChaos } from '../test/chaos/run.ts';
import { DEFAULT_SETTINGS, SHORT_SETTINGS } from '../test/chaos/settings.ts';

/**
 * Tries to make the scheduler lose, duplicate and reorder tasks. It runs real processes,
 * injects faults from a seed, and checks everything that was observed.
 * The last line is "N passed, N failed"; each invariant counts as one test.
 */
const program = new Command('chaos')
  .option('--minutes <n>', 'length of the load', Number, 2)
  .option('--seed <n>', 'seed of the plan; the same seed gives the same plan', Number, Math.floor(Math.random() * 1e6))
  .option('--every <seconds>', 'mean time between two faults', Number, 12)
  .option('--rate <n>', 'tasks per second', Number)
  .option('--short', 'uses shorter timeouts', false)
  .option('--only <family...>', 'families of faults: processes, redis, postgresql, network, clock, handlers')
  .addOption(
    new Option('--redis <shape>', 'kind of Redis').choices(['single', 'sentinel', 'cluster']).default('single'),
  )
  .option('--plan <file>', 'follows a plan that an earlier run has written')
  .option('--directory <path>', 'directory for logs, history and report', '.local/chaos')
  .parse();

const options = program.opts<{
  minutes: number;
  seed: number;
  every: number;
  rate?: number;
  short: boolean;
  only?: string[];
  redis: RedisKind;
  plan?: string;
  directory: string;
}>();

const base = options.short ? SHORT_SETTINGS : DEFAULT_SETTINGS;
const rate = options.rate ?? base.tasksPerSecond;
// Keep the rate limit slightly above the rate of one client.
const rateLimitPerMinute = Math.round(base.rateLimitPerMinute * Math.max(1, rate / base.tasksPerSecond));
const settings = { ...base, redis: options.redis, tasksPerSecond: rate, rateLimitPerMinute };
const faults = options.only === undefined ? FAULTS : FAULTS.filter(({ family }) => options.only?.includes(family));
const plan: Plan =
  options.plan === undefined
    ? createPlan({
        seed: options.seed,
        lengthMs: options.minutes * 60_000,
        settings,
        everyMs: options.every * 1_000,
        faults,
      })
    : (JSON.parse(readFileSync(options.plan, 'utf8')) as Plan);

console.log(printPlan(plan));
const directory = resolve(options.directory, `seed-${plan.seed}`);
const run = await runChaos({ plan, settings, directory, say: (text) => console.log(text) });
mkdirSync(directory, { recursive: true });
writeFileSync(join(directory, 'plan.json'), `${JSON.stringify(plan, null, 2)}\n`);
const report = writeReport(run, directory);

const broken = run.verdicts.filter(({ violations }) => violations.length > 0);
const failures = run.injected.filter(({ failed }) => failed);
for (const { invariant, violations } of broken) {
  console.log(
    `${invariant}: ${violations.length} violations, such as: ${violations[0]?.taskId ?? ''} ${violations[0]?.message}`,
  );
}
for (const { fault, outcome } of failures) console.log(`${fault}: ${outcome}`);
console.log(`report: ${report}`);
console.log(`${run.verdicts.length - broken.length} passed, ${broken.length + failures.length} failed`);
process.exitCode = broken.length + failures.length > 0 ? 1 : 0;
