import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PEERS, scenarios } from './catalogue.ts';
import type { Arena } from './contender.ts';
import { figuresOf, nameOf, readFigures, section, tables, writeTables, type Figures } from './figures.ts';
import { readOptions, type Options } from './options.ts';
import { describeEnvironment, environment, type Outcome } from './report.ts';
import { runScenario } from './runner.ts';
import type { Scenario } from './scenario.ts';
import { startStores } from './stores.ts';
import { openTally } from './tally.ts';

const ROOT = join(import.meta.dirname, '..');

/** Returns the scenarios to run. @throws Error that names the expected and the given values */
function chosen({ size, only, contenders }: Options): Scenario[] {
  const all = scenarios(size);
  requireKnown(
    '--only',
    only,
    all.map(({ name }) => name),
  );
  requireKnown(
    '--contenders',
    contenders,
    all.flatMap(({ entrants }) => entrants.map(({ name }) => name)),
  );
  return all.filter(({ name }) => only.length === 0 || only.includes(name));
}

function requireKnown(option: string, given: readonly string[], known: readonly string[]): void {
  const unknown = given.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new Error(`${option}: expected some of ${[...new Set(known)].join(', ')}; given ${unknown.join(', ')}`);
}

async function run(options: Options, list: readonly Scenario[]): Promise<void> {
  const catalogue = scenarios(options.size);
  const { rttMs, rounds, contenders, size } = options;
  const directory = join(ROOT, '.local', 'bench');
  mkdirSync(directory, { recursive: true });
  const stores = await startStores(rttMs);
  const tally = await openTally(join(directory, `tally-${process.pid}.sock`));
  const arena: Arena = { stores, tally, directory };
  const outcomes: Outcome[] = [];
  let passed = 0;
  let failed = 0;
  try {
    const env = environment(await versions(arena), rttMs);
    const described = describeEnvironment(env);
    const found: Record<string, Figures> = {};
    console.log(described);
    for (const scenario of list) {
      const { verdicts, ...outcome } = await runScenario(scenario, arena, { rounds, only: contenders });
      outcomes.push(outcome);
      passed += verdicts.passed;
      failed += verdicts.failed;
      const figures = figuresOf(outcome, env);
      found[nameOf(scenario, env)] = figures;
      if (!size.quick) console.log(`\n${section(figures, scenario)}`);
      console.log(`${scenario.name} took ${Math.round(outcome.seconds)} s`);
      // Write the file after each scenario, so that a later failure does not lose the figures.
      const file = join(directory, `results-${env.at.replaceAll(':', '')}.json`);
      writeFileSync(file, JSON.stringify({ environment: env, outcomes }, null, 2));
    }
    writeFileSync(join(directory, 'results.md'), [described, ...tables(found, catalogue)].join('\n'));
    if (options.write) writeTables(join(ROOT, 'docs'), { ...readFigures(join(ROOT, 'docs')), ...found }, catalogue);
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

let options: Options;
let list: Scenario[];
try {
  options = readOptions(process.argv.slice(2));
  list = chosen(options);
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exit(2);
}
await run(options, list);
// Exit explicitly, because a library's pool or timer might keep the process alive.
process.exit();
