import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Measurement, Scenario } from './scenario.ts';
import { median } from './statistics.ts';

export interface Run extends Measurement {
  readonly round: number;
  readonly entrant: string;
  /** The machine's one-minute load average when the run began. */
  readonly load: number;
}

export interface Outcome {
  readonly scenario: Scenario;
  readonly runs: readonly Run[];
  /** Whether a run failed; `runs` has no figures for a failed run. */
  readonly failed: boolean;
  /** Why entrants did not take part or failed, by name. */
  readonly absent: Readonly<Record<string, string>>;
  /** How long all of it took. */
  readonly seconds: number;
}

export interface Environment {
  readonly at: string;
  readonly commit: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGb: number;
  /** Milliseconds by which every answer of a store is delayed. */
  readonly rttMs: number;
  readonly versions: Readonly<Record<string, string>>;
}

export function environment(versions: Readonly<Record<string, string>>, rttMs: number): Environment {
  return {
    at: new Date().toISOString(),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: import.meta.dirname,
      encoding: 'utf8',
    }).trim(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    rttMs,
    versions,
  };
}

/** Returns how many times as good the first entrant is as another: the median of the ratios of all rounds. */
export function ratio({ scenario, runs }: Outcome, other: string): number {
  const first = scenario.entrants[0]?.name;
  const rounds = Map.groupBy(runs, (run) => run.round);
  const ratios = [...rounds.values()].flatMap((together) => {
    const ours = together.find(({ entrant }) => entrant === first)?.value;
    const theirs = together.find(({ entrant }) => entrant === other)?.value;
    if (ours === undefined || theirs === undefined) return [];
    return [scenario.more ? ours / theirs : theirs / ours];
  });
  return median(ratios);
}

/**
 * Returns how many times as little of a detail the first entrant needs as another. Each counts with its best run, because
 * other work on the machine only ever makes a run worse. NaN if one of them has no run.
 */
export function bestRatio({ scenario, runs }: Outcome, other: string, detail: string): number {
  const best = (name: string | undefined): number =>
    Math.min(...runs.filter(({ entrant }) => entrant === name).map(({ details }) => details?.[detail] ?? Number.NaN));
  const found = best(other) / best(scenario.entrants[0]?.name);
  return Number.isFinite(found) ? found : Number.NaN;
}

export function round(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

export function describeEnvironment({ at, commit, cpu, cpus: count, memoryGb, versions }: Environment): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${at}, commit ${commit}; ${count} CPUs (${cpu}), ${memoryGb} GB; ${list.join(', ')}.\n`;
}
