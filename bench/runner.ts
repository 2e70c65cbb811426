import { loadavg } from 'node:os';
import type { Arena } from './contender.ts';
import { bestRatio, round, type Outcome, type Run } from './report.ts';
import type { Entrant, Floor, Opened, Scenario } from './scenario.ts';

export interface Verdicts {
  /** Verified measurements, and floors that were met. */
  passed: number;
  failed: number;
}

/** Measures all entrants of a scenario. A measurement counts only if the verification of its entrant succeeds. */
export async function runScenario(
  scenario: Scenario,
  arena: Arena,
  options: { readonly rounds: number; readonly only: readonly string[] },
): Promise<Outcome & { readonly verdicts: Verdicts }> {
  const absent: Record<string, string> = {};
  const entrants = scenario.entrants.filter((entrant) => {
    if (options.only.length > 0 && !options.only.includes(entrant.name)) return false;
    const why = entrant.unavailable();
    if (why === null) return true;
    absent[entrant.name] = why;
    console.log(`${scenario.name} ${entrant.name} is left out: ${why}`);
    return false;
  });
  const runs: Run[] = [];
  const verdicts: Verdicts = { passed: 0, failed: 0 };
  const fail = (name: string, error: unknown): void => {
    verdicts.failed++;
    absent[name] = (error as Error).message;
    console.log(`${scenario.name} ${name} failed: ${(error as Error).stack}`);
  };

  /** Opens some entrants, measures them in turn, and keeps the figures of the verified ones. */
  const measure = async (together: readonly Entrant[], nth: number, times: number): Promise<void> => {
    const opened: { entrant: Entrant; stand: Opened; found: Run[] }[] = [];
    try {
      await arena.stores.clear();
      for (const entrant of together) opened.push({ entrant, stand: await entrant.open(arena), found: [] });
      for (let i = 0; i < times; i++) {
        for (const { entrant, stand, found } of i % 2 === 0 ? opened : opened.toReversed()) {
          const load = loadavg()[0] ?? Number.NaN;
          found.push({ round: nth * times + i, entrant: entrant.name, load, ...(await stand.measure()) });
        }
      }
      for (const { entrant, stand, found } of opened) {
        try {
          await stand.verify();
          runs.push(...found);
          verdicts.passed += found.length;
          for (const run of found) tell(scenario, run);
        } catch (error) {
          fail(entrant.name, error);
        }
      }
    } catch (error) {
      fail(together.map(({ name }) => name).join(', '), error);
    } finally {
      await Promise.all(opened.map(({ stand }) => stand.close()));
    }
  };

  const rounds = scenario.once === true ? 1 : options.rounds;
  const measureRound = async (nth: number): Promise<void> => {
    if (scenario.inTurn !== undefined) return measure(entrants, nth, scenario.inTurn);
    // Each round measures every entrant once; the order alternates between rounds.
    for (const entrant of nth % 2 === 0 ? entrants : entrants.toReversed()) {
      if (nth === 0 || entrant.once !== true) await measure([entrant], nth, 1);
    }
  };
  const outcomeSoFar = (): Outcome => ({ scenario, runs, absent, failed: verdicts.failed > 0, seconds: seconds() });
  const startMs = performance.now();
  const seconds = (): number => (performance.now() - startMs) / 1_000;

  for (let i = 0; i < rounds; i++) await measureRound(i);
  const floors = scenario.floors ?? [];
  const missed = (): Floor[] =>
    floors.filter((floor) => bestRatio(outcomeSoFar(), floor.than, floor.detail) < floor.ratio);
  // Other work on the machine can spoil a round, but hardly three of them.
  for (let i = rounds; i < rounds + FURTHER_ROUNDS && missed().length > 0; i++) {
    console.log(`${scenario.name}: measured again, because a floor was missed`);
    await measureRound(i);
  }
  for (const floor of floors) judge(outcomeSoFar(), floor, verdicts);
  return { ...outcomeSoFar(), verdicts };
}

/** Rounds that are added while a floor is missed. */
const FURTHER_ROUNDS = 2;

function tell(scenario: Scenario, { entrant, value, details = {}, load }: Run): void {
  const list = Object.entries(details).map(([name, figure]) => `${name} ${round(figure)}`);
  console.log(
    `${scenario.name} ${entrant}: ${round(value)} ${scenario.unit}  ${list.join(', ')}  (load ${round(load)})`,
  );
}

function judge(outcome: Outcome, { than, detail, ratio: least }: Floor, verdicts: Verdicts): void {
  const found = bestRatio(outcome, than, detail);
  // An entrant without figures was not selected, or its failure has been counted already.
  if (Number.isNaN(found)) return;
  const kept = found >= least;
  if (kept) verdicts.passed++;
  else verdicts.failed++;
  const what = `${outcome.scenario.name}: ${detail}, ratio to ${than} ${round(found)}`;
  console.log(`${what}, at least ${least} is expected: ${kept ? 'ok' : 'FAILED'}`);
}
