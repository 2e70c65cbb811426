import { loadavg } from 'node:os';
import type { Arena } from './contender.ts';
import { ratio, round, type Outcome, type Run } from './report.ts';
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

  for (let i = 0; i < options.rounds; i++) {
    if (scenario.inTurn !== undefined) {
      await measure(entrants, i, scenario.inTurn);
      continue;
    }
    // Each round measures every entrant once; the order alternates between rounds.
    for (const entrant of i % 2 === 0 ? entrants : entrants.toReversed()) await measure([entrant], i, 1);
  }
  const outcome: Outcome = { scenario, runs, absent, failed: verdicts.failed > 0 };
  for (const floor of scenario.floors ?? []) judge(outcome, floor, verdicts);
  return { ...outcome, failed: verdicts.failed > 0, verdicts };
}

function tell(scenario: Scenario, { entrant, value, details = {}, load }: Run): void {
  const list = Object.entries(details).map(([name, figure]) => `${name} ${round(figure)}`);
  console.log(
    `${scenario.name} ${entrant}: ${round(value)} ${scenario.unit}  ${list.join(', ')}  (load ${round(load)})`,
  );
}

function judge(outcome: Outcome, { than, detail, ratio: least }: Floor, verdicts: Verdicts): void {
  const found = ratio(outcome, than, detail);
  // An entrant without figures was not selected, or its failure has been counted already.
  if (Number.isNaN(found)) return;
  const kept = found >= least;
  if (kept) verdicts.passed++;
  else verdicts.failed++;
  const what = `${outcome.scenario.name}: ${detail ?? outcome.scenario.unit}, ratio to ${than} ${round(found)}`;
  console.log(`${what}, at least ${least} is expected: ${kept ? 'ok' : 'FAILED'}`);
}
