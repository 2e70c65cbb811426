import { readFileSync } from 'node:fs';

/**
 * Every process of a run preloads this module (`--import`). It shifts only `Date`, by the milliseconds in the file
 * `CHAOS_CLOCK`, to simulate a jump of the host's clock.
 */
const path = process.env['CHAOS_CLOCK'];
const RealDate = Date;
let shiftMs = 0;

function look(): void {
  try {
    shiftMs = Number(readFileSync(path as string, 'utf8')) || 0;
  } catch {
    shiftMs = 0;
  }
}

if (path !== undefined) {
  look();
  setInterval(look, 500).unref();
  globalThis.Date = class extends RealDate {
    constructor(...given: unknown[]) {
      if (given.length === 0) super(RealDate.now() + shiftMs);
      else super(...(given as [number]));
    }
    static override now(): number {
      return RealDate.now() + shiftMs;
    }
  } as DateConstructor;
}
