import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Arena, ContenderKind } from './contender.ts';
import { bullmq } from './contenders/bullmq.ts';
import { graphileWorker } from './contenders/graphile-worker.ts';
import { pgBoss } from './contenders/pg-boss.ts';
import { river } from './contenders/river.ts';
import { scheduler } from './contenders/scheduler.ts';
import { describeEnvironment, environment, markdown, round, writeInto, type Outcome, type Run } from './report.ts';
import type { Scenario, Size } from './scenario.ts';
import { bulk } from './scenarios/bulk.ts';
import { drain } from './scenarios/drain.ts';
import { pickUp } from './scenarios/pick-up.ts';
import { redisBytes } from './scenarios/redis-bytes.ts';
import { submit } from './scenarios/submit.ts';
import { startStores } from './stores.ts';
import { openTally } from './tally.ts';

const ROOT = join(import.meta.dirname, '..');

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    contenders: { type: 'string', default: '' },
    rounds: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

const size: Size = { quick: options.quick };
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3));
const PEERS = [bullmq, pgBoss, graphileWorker(false), graphileWorker(true), river];
const ALL = [scheduler(), ...PEERS];

function scenarios(): Scenario[] {
  const backlog = options.quick ? 20_000 : 100_000;
  const thousands = `${backlog / 1_000}k`;
  return [
    submit(size),
    bulk(size, [scheduler(), bullmq, pgBoss, graphileWorker(true), river]),
    drain(
      {
        name: 'drain',
        title: `Drain of ${thousands} no-op tasks, one worker process`,
        goal: '≥ 2.5 × BullMQ, ≥ 1.25 × the fastest PostgreSQL peer',
      },
      { tasks: backlog, processes: 1, slots: null, sleepMs: 0 },
      ALL,
    ),
    drain(
      { name: 'drain-4', title: `Drain of ${thousands} no-op tasks, four worker processes`, goal: '≥ each peer' },
      { tasks: backlog, processes: 4, slots: null, sleepMs: 0 },
      ALL,
    ),
    drain(
      {
        name: 'drain-10ms',
        title: `Drain of ${backlog / 2_000}k tasks of 10 ms, one worker process, 200 slots`,
        goal: '≥ each peer',
      },
      { tasks: backlog / 2, processes: 1, slots: 200, sleepMs: 10 },
      ALL,
    ),
    pickUp(size, [scheduler(), bullmq, pgBoss, graphileWorker(false), river]),
    redisBytes(size, [scheduler(), bullmq]),
  ];
}

async function main(): Promise<void> {
  const directory = join(ROOT, '.local', 'bench');
  mkdirSync(directory, { recursive: true });
  const stores = await startStores();
  const tally = await openTally(join(directory, `tally-${process.pid}.sock`));
  const arena: Arena = { stores, tally, directory };
  const chosen = options.only.split(',').filter(Boolean);
  const outcomes: Outcome[] = [];
  try {
    const env = environment(await versions(arena));
    console.log(describeEnvironment(env));
    for (const scenario of scenarios()) {
      if (chosen.length > 0 && !chosen.includes(scenario.name)) continue;
      const outcome = await runScenario(scenario, arena);
      outcomes.push(outcome);
      console.log(`\n${markdown(outcome)}`);
      // After each one, so that what is measured is not lost with what comes later.
      const file = join(directory, `results-${env.at.replaceAll(':', '')}.json`);
      writeFileSync(file, JSON.stringify({ environment: env, outcomes }, null, 2));
    }
    const text = [describeEnvironment(env), ...outcomes.map(markdown)].join('\n');
    writeFileSync(join(directory, 'results.md'), text);
    if (options.write) writeInto(join(ROOT, 'docs', 'performance.md'), text);
  } finally {
    await tally.close();
    await stores.close();
    rmSync(tally.path, { force: true });
  }
  if (outcomes.some(({ failed }) => failed)) process.exitCode = 1;
}

/** Everybody once a round; who begins changes with the round. */
async function runScenario(scenario: Scenario, arena: Arena): Promise<Outcome> {
  const absent: Record<string, string> = {};
  const wanted = options.contenders.split(',').filter(Boolean);
  const entrants = scenario.entrants.filter((entrant) => {
    if (wanted.length > 0 && !wanted.includes(entrant.name)) return false;
    const why = entrant.unavailable();
    if (why === null) return true;
    absent[entrant.name] = why;
    console.log(`${entrant.name} is left out: ${why}`);
    return false;
  });
  const runs: Run[] = [];
  let failed = false;
  for (let i = 0; i < rounds; i++) {
    for (const entrant of i % 2 === 0 ? entrants : entrants.toReversed()) {
      const load = loadavg()[0] ?? Number.NaN;
      try {
        const measured = await entrant.measure(arena);
        runs.push({ round: i, entrant: entrant.name, load, ...measured });
        const details = Object.entries(measured.details ?? {}).map(([name, value]) => `${name} ${round(value)}`);
        console.log(
          `${scenario.name} ${i + 1}/${rounds} ${entrant.name}: ${round(measured.value)} ${scenario.unit}  ${details.join(', ')}  (load ${round(load)})`,
        );
      } catch (error) {
        failed = true;
        absent[entrant.name] = (error as Error).message;
        console.log(`${scenario.name} ${i + 1}/${rounds} ${entrant.name} failed: ${(error as Error).stack}`);
      }
    }
  }
  return { scenario, runs, absent, failed };
}

async function versions({ stores }: Arena): Promise<Record<string, string>> {
  const [row] = await stores.query<{ server_version: string }>(stores.postgres.url, 'SHOW server_version');
  const redis = /redis_version:(\S+)/.exec(await stores.redis.info('server'))?.[1] ?? 'unknown';
  const peers = [...new Set(PEERS.map(({ name }) => name.replace(' (batched)', '')))].map((name): [string, string] => {
    const peer = PEERS.find((one) => one.name === name) as ContenderKind;
    return [name, peer.unavailable() === null ? peer.version() : 'absent'];
  });
  return {
    'Node.js': process.versions.node,
    PostgreSQL: row?.server_version.split(' ')[0] ?? 'unknown',
    Redis: redis,
    kernel: execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim(),
    ...Object.fromEntries(peers),
  };
}

await main();
// A library's pool or timer must not keep the bench alive.
process.exit();
