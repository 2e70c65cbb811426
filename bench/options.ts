import { parseArgs } from 'node:util';
import type { Size } from './scenario.ts';

export interface Options {
  readonly size: Size;
  readonly rounds: number;
  /** Names of scenarios; empty for all. */
  readonly only: readonly string[];
  /** Names of contenders; empty for all. */
  readonly contenders: readonly string[];
  /** Milliseconds by which every answer of a store is delayed. */
  readonly rttMs: number;
  /** Whether to write the figures into the documentation. */
  readonly write: boolean;
}

/** @throws Error that names the expected and the given value */
export function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      short: { type: 'boolean', default: false },
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
  const { quick } = values;
  const of = <Preset>(presets: { quick: Preset; short: Preset; full: Preset }): Preset =>
    presets[quick ? 'quick' : values.short ? 'short' : 'full'];
  const count = (name: 'rounds' | 'waiting' | 'finished' | 'seconds', preset: number): number => {
    const text = values[name];
    return text === undefined ? preset : countOf(name, text);
  };
  return {
    size: {
      quick,
      waiting: count('waiting', of({ quick: 20_000, short: 200_000, full: 1_000_000 })),
      finished: count('finished', of({ quick: 40_000, short: 1_000_000, full: 10_000_000 })),
      seconds: count('seconds', of({ quick: 8, short: 120, full: 600 })),
    },
    rounds: count('rounds', of({ quick: 1, short: 1, full: 3 })),
    only: listOf(values.only),
    contenders: listOf(values.contenders),
    rttMs: millisecondsOf(values.rtt),
    write: values.write,
  };
}

const UNITS = { '': 1, k: 1_000, M: 1_000_000 };

function countOf(name: string, text: string): number {
  const [, digits, unit = ''] = /^([1-9]\d*)([kM]?)$/.exec(text) ?? [];
  if (digits === undefined) throw new Error(`--${name}: expected a number such as 3, 20k or 1M; given ${text}`);
  return Number(digits) * UNITS[unit as keyof typeof UNITS];
}

function millisecondsOf(text: string): number {
  const [, digits] = /^(\d{1,4})ms$/.exec(text) ?? [];
  if (digits === undefined) throw new Error(`--rtt: expected milliseconds such as 1ms; given ${text}`);
  return Number(digits);
}

function listOf(text: string): string[] {
  return text.split(',').filter(Boolean);
}
