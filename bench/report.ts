import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
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

const valuesOf = (runs: readonly Run[], entrant: string): number[] =>
  runs.filter((run) => run.entrant === entrant).map(({ value }) => value);

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

export function markdown(outcome: Outcome, { at, commit, rttMs }: Environment): string {
  const { scenario, runs, absent } = outcome;
  const first = scenario.entrants[0]?.name;
  const rows = scenario.entrants.map(({ name, settings }) => {
    const why = absent[name];
    const values = valuesOf(runs, name);
    if (values.length === 0) return `| ${name} | – | – | – | ${why ?? 'not measured'} |`;
    const details = detailsOf(runs, name);
    const spread = `${round(Math.min(...values))} – ${round(Math.max(...values))}`;
    const compared = name === first ? '' : round(ratio(outcome, name));
    const note = [details, settings, why].filter((part) => part !== undefined && part !== '').join('; ');
    return `| ${name} | ${round(median(values))} | ${spread} | ${compared} | ${note} |`;
  });
  const loads = runs.map(({ load }) => load);
  const rounds = new Set(runs.map((run) => run.round)).size;
  const times = rounds === 1 ? 'once' : `${rounds} times`;
  const late = rttMs > 0 ? `, every answer of a store ${rttMs} ms late` : '';
  return [
    `### ${scenario.title}${late}`,
    '',
    `Goal: ${scenario.goal}. Measured ${times} on ${at.slice(0, 10)}, commit ${commit}; load average ${round(Math.min(...loads))} – ${round(Math.max(...loads))} when a run began.`,
    '',
    `| | ${scenario.unit}, median | spread | ${first ?? ''}, times as good | |`,
    '|---|--:|--:|--:|---|',
    ...rows,
    '',
  ].join('\n');
}

function detailsOf(runs: readonly Run[], entrant: string): string {
  const own = runs.filter((run) => run.entrant === entrant);
  const names = Object.keys(own[0]?.details ?? {});
  return names
    .map((name) => `${name}: ${round(median(own.map(({ details }) => details?.[name] ?? Number.NaN)))}`)
    .join(', ');
}

export function round(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

const BEGIN = '<!-- bench: begin -->';
const END = '<!-- bench: end -->';
const SECTION = /<!-- scenario: (.+) -->\n([\s\S]*?)(?=<!-- scenario: |$)/g;

/** Returns the name of a scenario's section in the document. */
export function sectionName({ name }: Scenario, { rttMs }: Environment): string {
  return rttMs > 0 ? `${name}, ${rttMs} ms late` : name;
}

/**
 * Replaces sections in the generated part of a document. Other sections stay, so that one run can update the figures of
 * a few scenarios.
 * @throws Error if the document has no such part
 */
export function writeInto(path: string, described: string, sections: ReadonlyMap<string, string>): void {
  const text = readFileSync(path, 'utf8');
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${path} has no place for the figures`);
  const standing = text.slice(begin + BEGIN.length, end).matchAll(SECTION);
  const all = new Map([...standing].map(([, name = '', body = '']): [string, string] => [name, body.trim()]));
  for (const [name, body] of sections) all.set(name, body.trim());
  const written = [...all].map(([name, body]) => `<!-- scenario: ${name} -->\n${body}\n`);
  writeFileSync(
    path,
    `${text.slice(0, begin + BEGIN.length)}\n\n${described}\n${written.join('\n')}\n${text.slice(end)}`,
  );
}

export function describeEnvironment({ at, commit, cpu, cpus: count, memoryGb, versions }: Environment): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${at}, commit ${commit}; ${count} CPUs (${cpu}), ${memoryGb} GB; ${list.join(', ')}.\n`;
}
