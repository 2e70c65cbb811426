import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IN_ALL } from './meter.ts';
import { ratio, round, type Environment, type Outcome } from './report.ts';
import type { Scenario } from './scenario.ts';
import { median } from './statistics.ts';

/** What was measured of one contender. All figures are medians. */
export interface ContenderFigures {
  readonly name: string;
  readonly settings: string;
  /** Null if there is no figure; `why` says why. */
  readonly value: number | null;
  readonly lowest: number | null;
  readonly highest: number | null;
  /** How many times as good the first contender is. */
  readonly ratio: number | null;
  readonly details: Readonly<Record<string, number>>;
  readonly why?: string;
}

/** The figures of one scenario, as `docs/performance.json` keeps them. Goals change, so they stay in the catalogue. */
export interface Figures {
  readonly title: string;
  readonly unit: string;
  readonly measured: string;
  readonly commit: string;
  readonly rounds: number;
  /** The lowest and the highest load average at the beginning of a run. */
  readonly load: readonly [number, number];
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly contenders: readonly ContenderFigures[];
}

/** Returns the name of a scenario's figures. */
export function nameOf({ name }: Scenario, { rttMs }: Environment): string {
  return rttMs > 0 ? `${name}, ${rttMs} ms late` : name;
}

export function figuresOf(
  outcome: Outcome,
  { at, commit, cpu, cpus, memoryGb, rttMs, versions }: Environment,
): Figures {
  const { scenario, runs, absent } = outcome;
  const loads = runs.map(({ load }) => load);
  const contenders = scenario.entrants.map(({ name, settings }, i): ContenderFigures => {
    const own = runs.filter(({ entrant }) => entrant === name);
    const values = own.map(({ value }) => value);
    const why = absent[name] ?? (values.length === 0 ? 'not measured' : undefined);
    const detail = (key: string): number => median(own.map(({ details }) => details?.[key] ?? Number.NaN));
    const names = Object.keys(own[0]?.details ?? {});
    return {
      name,
      settings,
      value: short(median(values)),
      lowest: short(Math.min(...values)),
      highest: short(Math.max(...values)),
      ratio: i === 0 ? null : short(ratio(outcome, name)),
      details: Object.fromEntries(names.map((key) => [key, short(detail(key)) ?? 0])),
      ...(why === undefined ? {} : { why }),
    };
  });
  return {
    title: `${scenario.title}${rttMs > 0 ? `, every answer of a store ${rttMs} ms late` : ''}`,
    unit: scenario.unit,
    measured: at.slice(0, 10),
    commit,
    rounds: new Set(runs.map((run) => run.round)).size,
    load: [short(Math.min(...loads)) ?? 0, short(Math.max(...loads)) ?? 0],
    machine: `${cpus} CPUs (${cpu}), ${memoryGb} GB`,
    versions,
    contenders,
  };
}

/** Four digits say more than a measurement can. */
function short(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
}

const figure = (value: number | null | undefined): string => round(value ?? Number.NaN);

/** Returns all figures of one scenario, for the terminal. */
export function section(
  { title, unit, measured, commit, rounds, load, contenders }: Figures,
  { goal }: Pick<Scenario, 'goal'>,
): string {
  const rows = contenders.map(({ name, settings, value, lowest, highest, ratio: times, details, why }) => {
    const list = Object.entries(details).map(([key, each]) => `${key}: ${round(each)}`);
    const note = [list.join(', '), settings, why].filter((part) => part !== undefined && part !== '').join('; ');
    const spread = value === null ? '–' : `${figure(lowest)} – ${figure(highest)}`;
    return `| ${name} | ${figure(value)} | ${spread} | ${times === null ? '' : figure(times)} | ${note} |`;
  });
  return [
    `### ${title}`,
    '',
    `Goal: ${goal}. Measured ${timesMeasured(rounds)} on ${measured}, commit ${commit}; load average ${load.map(round).join(' – ')} when a run began.`,
    '',
    `| | ${unit} | spread | ${contenders[0]?.name ?? ''}, times as good | |`,
    '|---|--:|--:|--:|---|',
    ...rows,
    '',
  ].join('\n');
}

const timesMeasured = (rounds: number): string => (rounds === 1 ? 'once' : `${rounds} times`);

/** The costs have a table of their own. */
const isCost = (name: string): boolean => name.includes('CPU µs') || name.startsWith('WAL bytes');

type Catalogue = readonly Pick<Scenario, 'name' | 'goal'>[];

/** Returns the place of a scenario in the catalogue, by the name of its figures; -1 if it is no longer there. */
const placeOf = (name: string, catalogue: Catalogue): number =>
  catalogue.findIndex((scenario) => scenario.name === name.split(',')[0]);

const inOrder = (all: Readonly<Record<string, Figures>>, catalogue: Catalogue): [string, Figures][] => {
  const keyOf = (name: string): number => {
    const place = placeOf(name, catalogue);
    return place < 0 ? catalogue.length : place;
  };
  return Object.entries(all).toSorted(([one], [other]) => keyOf(one) - keyOf(other) || one.localeCompare(other));
};

/** Returns one row for each scenario: where the scheduler stands. */
function standing(all: readonly [string, Figures][], catalogue: Catalogue): string {
  const rows = all.map(([name, { title, unit, measured, commit, rounds, contenders }]) => {
    const [first, ...others] = contenders;
    if (first === undefined) return '';
    const compared = others
      .filter(({ value }) => value !== null)
      .map((each) => `${each.name} ${figure(each.value)} (**${figure(each.ratio)} ×**${further(each, '; ')})`);
    const label = first.name === 'scheduler' ? '' : `${first.name}: `;
    const goal = catalogue[placeOf(name, catalogue)]?.goal ?? '';
    const ours = `${label}${figure(first.value)} ${unit}${further(first, '; ')}`;
    return `| \`${name}\`: ${title} | ${ours} | ${compared.join(', ')} | ${goal} | ${measured}, ${commit}, ${timesMeasured(rounds)} |`;
  });
  return [
    '| | scheduler | others, and how many times as good the scheduler is | goal | measured |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function further({ details }: ContenderFigures, before: string): string {
  const list = Object.entries(details).filter(([name]) => !isCost(name) && !name.includes('resident'));
  return list.length === 0 ? '' : before + list.map(([name, value]) => `${name}: ${round(value)}`).join(', ');
}

/** The scenarios whose costs are shown: what it costs to submit a task, and to execute one. */
const SHOWN_COSTS = new Set(['submit-service', 'bulk', 'drain', 'drain-1k']);

/** Returns what a task costs, and where: one row for each contender of some scenarios. */
function costs(all: readonly [string, Figures][]): string {
  const rows = all
    .filter(([name]) => SHOWN_COSTS.has(name))
    .flatMap(([name, { contenders, measured, commit }]) =>
      contenders
        .filter(({ details }) => Object.keys(details).some(isCost))
        .map(({ name: contender, details }) => {
          const process = Object.keys(details).find((key) => /^(server|worker|submitter) CPU µs$/.test(key)) ?? '';
          const columns = [IN_ALL, process, 'PostgreSQL CPU µs', 'Redis CPU µs', 'WAL bytes'].map((key) =>
            figure(details[key]),
          );
          return `| \`${name}\` | ${contender} | ${columns.join(' | ')} | ${measured}, ${commit} |`;
        }),
    );
  return [
    '| | | CPU µs in all | its process | PostgreSQL | Redis | WAL bytes | measured |',
    '|---|---|--:|--:|--:|--:|--:|---|',
    ...rows,
  ].join('\n');
}

/** Returns the two tables of the document. */
export function tables(all: Readonly<Record<string, Figures>>, catalogue: Catalogue): [string, string] {
  const sorted = inOrder(all, catalogue);
  return [standing(sorted, catalogue), costs(sorted)];
}

const FILE = 'performance.json';

/** Reads the figures that earlier runs have written. */
export function readFigures(docs: string): Record<string, Figures> {
  const path = join(docs, FILE);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, Figures>) : {};
}

/**
 * Writes all figures into `performance.json`, and the tables that they make into `performance.md`.
 * @throws Error if the document has no place for a table
 */
export function writeTables(docs: string, all: Readonly<Record<string, Figures>>, catalogue: Catalogue): void {
  const path = join(docs, 'performance.md');
  let text = readFileSync(path, 'utf8');
  for (const [i, name] of ['standing', 'costs'].entries()) {
    const begin = `<!-- ${name}: begin -->`;
    const from = text.indexOf(begin);
    const to = text.indexOf(`<!-- ${name}: end -->`);
    if (from < 0 || to < from) throw new Error(`${path} has no place for the table ${name}`);
    text = `${text.slice(0, from + begin.length)}\n\n${tables(all, catalogue)[i]}\n\n${text.slice(to)}`;
  }
  writeFileSync(path, text);
  writeFileSync(join(docs, FILE), `${JSON.stringify(Object.fromEntries(inOrder(all, catalogue)), null, 2)}\n`);
}
