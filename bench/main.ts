import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PEERS, scenarios } from './catalogue.ts';
import type { Arena } from './contender.ts';
import { describeEnvironment, environment, markdown, writeInto, type Outcome } from './report.ts';
import { runScenario } from './runner.ts';
import type { Size } from './scenario.ts';
import { startStores } from './stores.ts';
import { openTally } from './tally.ts';

const ROOT = join(import.meta.dirname, '..');

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    contenders: { type: 'string', default: '' },
    rounds: { type: 'string' },
    rtt: { type: 'string', default: '0ms' },
    waiting: { type: 'string' },
    finished: { type: 'string' },
    seconds: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

const { quick } = options;
const size: Size = {
  quick,
  waiting: numberOf('waiting', quick ? 20_000 : 1_000_000),
  finished: numberOf('finished', quick ? 20_000 : 10_000_000),
  seconds: numberOf('seconds', quick ? 8 : 120),
};
const rounds = numberOf('rounds', quick ? 1 : 3);
const chosen = options.only.split(',').filter(Boolean);
const contenders = options.contenders.split(',').filter(Boolean);

/** A count such as 20000, 20k or 1M. */
function numberOf(name: 'rounds' | 'waiting' | 'finished' | 'seconds', preset: number): number {
  const text = options[name];
  if (text === undefined) return preset;
  const [, digits, unit = ''] = /^(\d+)([kM]?)$/.exec(text) ?? [];
  if (digits === undefined) throw new Error(`--${name}: expected a number such as 3, 20k or 1M; given ${text}`);
  return Number(digits) * { '': 1, k: 1_000, M: 1_000_000 }[unit as '' | 'k' | 'M'];
}

function rttMs(): number {
  const [, digits] = /^(\d+)ms$/.exec(options.rtt) ?? [];
  if (digits === undefined) throw new Error(`--rtt: expected milliseconds such as 1ms; given ${options.rtt}`);
  return Number(digits);
}

async function main(): Promise<void> {
  const list = scenarios(size);
  const unknown = chosen.filter((name) => !list.some((scenario) => scenario.name === name));
  if (unknown.length > 0)
    throw new Error(`--only: expected ${list.map(({ name }) => name).join(', ')}; given ${unknown.join(', ')}`);
  const directory = join(ROOT, '.local', 'bench');
  mkdirSync(directory, { recursive: true });
  const stores = await startStores(rttMs());
  const tally = await openTally(join(directory, `tally-${process.pid}.sock`));
  const arena: Arena = { stores, tally, directory };
  const outcomes: Outcome[] = [];
  let passed = 0;
  let failed = 0;
  try {
    const env = environment(await versions(arena));
    const described = `${describeEnvironment(env)}${rttMs() > 0 ? `\nEvery answer of a store comes ${rttMs()} ms late.\n` : ''}`;
    console.log(described);
    for (const scenario of list) {
      if (chosen.length > 0 && !chosen.includes(scenario.name)) continue;
      const { verdicts, ...outcome } = await runScenario(scenario, arena, { rounds, only: contenders });
      outcomes.push(outcome);
      passed += verdicts.passed;
      failed += verdicts.failed;
      if (!quick) console.log(`\n${markdown(outcome)}`);
      // After each one, so that what is measured is not lost with what comes later.
      const file = join(directory, `results-${env.at.replaceAll(':', '')}.json`);
      writeFileSync(file, JSON.stringify({ environment: env, outcomes }, null, 2));
    }
    const text = [described, ...outcomes.map(markdown)].join('\n');
    writeFileSync(join(directory, 'results.md'), text);
    if (options.write) writeInto(join(ROOT, 'docs', 'performance.md'), text);
  } finally {
    await tally.close();
    await stores.close();
    rmSync(tally.path, { force: true });
  }
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
}

async function versions({ stores }: Arena): Promise<Record<string, string>> {
  const [row] = await stores.query<{ server_version: string }>(stores.postgres.url, 'SHOW server_version');
  const redis = /redis_version:(\S+)/.exec(await stores.redis.info('server'))?.[1] ?? 'unknown';
  const peers = PEERS.filter(({ name }) => !name.endsWith('(batched)')).map((peer): [string, string] => [
    peer.name,
    peer.version(),
  ]);
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
