import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { SchedulerError } from '../core/errors.ts';
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
  it('warns of a stop that left something which mends itself, and ends with 1', async () => {
    const error = new SchedulerError('outcomes_lost', 'they run again', { retryable: true });
    expect(await stopWith(error)).toEqual({ code: 1, levels: [40] });
  });

  it('logs any other failure to stop as an error', async () => {
    expect(await stopWith(new TypeError('a bug'))).toEqual({ code: 1, levels: [50] });
    expect(await stopWith(new SchedulerError('stuck', 'for good'))).toEqual({ code: 1, levels: [50] });
  });
});
