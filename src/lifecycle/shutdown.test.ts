import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { SchedulerError } from '../core/errors.ts';
import type { Service } from './service.ts';
import { runServices } from './shutdown.ts';

async function stopWith(failure: Error): Promise<{ code: number; levels: unknown[] }> {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const service = {
    name: 'failing',
    async start() {},
    async stop() {
      throw failure;
    },
  };
  const code = await runServices([service], log, Promise.resolve());
  return { code, levels: lines.filter(({ msg }) => msg === 'service did not stop cleanly').map(({ level }) => level) };
}

describe('runServices', () => {
  it('logs only a warning if a stop fails with a retryable error, and exits with 1', async () => {
    const error = new SchedulerError('outcomes_lost', 'they run again', { retryable: true });
    expect(await stopWith(error)).toEqual({ code: 1, levels: [40] });
  });

  it('also stops services that were not started, because they may have opened resources at construction', async () => {
    const stopped: string[] = [];
    const service = (name: string, start: () => Promise<void>): Service => ({
      name,
      start,
      stop: async () => void stopped.push(name),
    });
    const services = [
      service('started', async () => {}),
      service('failing', () => Promise.reject(new Error('no'))),
      service('behind', () => Promise.reject(new Error('never called'))),
    ];
    expect(await runServices(services, pino({ level: 'silent' }))).toBe(1);
    expect(stopped).toEqual(['behind', 'failing', 'started']);
  });

  it('logs an error if a stop fails in any other way', async () => {
    expect(await stopWith(new TypeError('a bug'))).toEqual({ code: 1, levels: [50] });
    expect(await stopWith(new SchedulerError('stuck', 'for good'))).toEqual({ code: 1, levels: [50] });
  });
});
