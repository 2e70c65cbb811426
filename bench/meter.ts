import type { Arena } from './contender.ts';
import { cpuSeconds } from './processes.ts';

/** Processes of a contender, by the name that their CPU time has in the report. */
export type Metered = Readonly<Record<string, readonly number[]>>;

/** Measures what a stretch of work costs: the CPU time of each process, and the WAL of PostgreSQL. */
export interface Meter {
  /** Returns the costs of each of `count` units of work since the start, and the sum of all CPU times. */
  read(count: number): Promise<Readonly<Record<string, number>>>;
}

export const IN_ALL = 'CPU µs in all';

/** Starts a meter. Processes that the bench starts itself are named in `processes`; the stores are always included. */
export async function startMeter({ stores }: Arena, processes: Metered): Promise<Meter> {
  const cpuNow = (): [string, number][] => [
    ...Object.entries(processes).map(([name, pids]): [string, number] => [
      name,
      pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0),
    ]),
    ['PostgreSQL', stores.postgresCpuSeconds()],
    ['Redis', stores.redisCpuSeconds()],
  ];
  // The queries for the WAL are outside the stretch in which CPU time counts.
  const walBefore = await stores.walBytes();
  const before = cpuNow();
  return {
    async read(count) {
      const spent = cpuNow().map(([name, seconds], i): [string, number] => [
        `${name} CPU µs`,
        ((seconds - (before[i] as [string, number])[1]) * 1e6) / count,
      ]);
      const wal = (await stores.walBytes()) - walBefore;
      return {
        [IN_ALL]: spent.reduce((sum, [, us]) => sum + us, 0),
        ...Object.fromEntries(spent),
        'WAL bytes': wal / count,
      };
    },
  };
}
