import { describe, expect, it } from 'vitest';
import { isAlive } from '../../scripts/stores/process-tree.ts';
import { startProcess, untilTrue, type LogLine, type TestProcess } from '../../test/harness/processes.ts';

/** Starts a process that supervises children. Each child is a program for `node -e`. */
function supervise(programs: Readonly<Record<string, string>>, delays = { min: 10, max: 40 }): TestProcess {
  const program = `
    import { createSupervisor } from './src/up/supervisor.ts';
    import { runServices } from './src/lifecycle/shutdown.ts';
    import { createLogger } from './src/telemetry/logger.ts';
    const log = createLogger('info', { process: 'up' });
    const children = Object.entries(${JSON.stringify(programs)}).map(([name, text]) => ({ name, command: [process.execPath, '-e', text] }));
    process.exitCode = await runServices([createSupervisor({ log, children, restartDelayMs: ${JSON.stringify(delays)} })], log);`;
  return startProcess(['node', '--input-type=module', '-e', program], {});
}

const started = (line: LogLine): boolean => line['msg'] === 'child process started';
const ended = (line: LogLine): boolean => line['msg'] === 'child process ended';
const says =
  (text: string) =>
  (line: LogLine): boolean =>
    line['msg'] === text;

/** Returns a program that logs "ready" and runs `onTerm` at SIGTERM. */
const obedient = (onTerm: string): string =>
  `process.on('SIGTERM', () => { ${onTerm} }); setInterval(() => {}, 1000); console.log('{"msg":"ready"}')`;

describe('createSupervisor', () => {
  it('starts a crashed child again, with delays that grow up to the maximum', async () => {
    const supervisor = supervise({ crashing: 'process.exit(3)' });
    await untilTrue(() => supervisor.lines.filter(ended).length >= 4);
    const crashes = supervisor.lines.filter(ended).slice(0, 4);
    expect(crashes.map((line) => line['restartInMs'])).toEqual([10, 20, 40, 40]);
    expect(crashes[0]).toMatchObject({
      child: 'crashing',
      code: 3,
      level: 'error',
      why: 'handlers that went on after their time limit had taken every slot',
    });
  });

  it('leaves the other children alone when one crashes', async () => {
    const supervisor = supervise({
      steady: obedient('process.exit(0)'),
      crashing: `process.kill(process.pid, 'SIGKILL')`,
    });
    await untilTrue(() => supervisor.lines.filter(ended).length >= 2);
    expect(supervisor.lines.filter(started).filter((line) => line['child'] === 'steady')).toHaveLength(1);
    expect(supervisor.lines.filter(ended)[0]).toMatchObject({
      child: 'crashing',
      signal: 'SIGKILL',
      why: expect.stringContaining('out of memory'),
    });
  });

  it('passes SIGTERM on once, waits for the children and exits 0', async () => {
    const slow = obedient(
      `console.log('{"msg":"draining"}'); setTimeout(() => { console.log('{"msg":"drained"}'); process.exit(0) }, 100)`,
    );
    const supervisor = supervise({ slow });
    await supervisor.waitForLine(says('ready'));
    supervisor.signal('SIGTERM');
    expect(await supervisor.waitForExit()).toEqual({ code: 0, signal: null });
    expect(supervisor.lines.filter(says('draining'))).toHaveLength(1);
    expect(supervisor.lines.filter(says('drained'))).toHaveLength(1);
    expect(supervisor.lines.filter(ended)).toHaveLength(0);
  });

  it('kills the children at a second signal', async () => {
    const supervisor = supervise({ stubborn: obedient(`console.log('{"msg":"ignored"}')`) });
    await supervisor.waitForLine(says('ready'));
    const pid = supervisor.lines.find(started)?.['pid'] as number;
    supervisor.signal('SIGTERM');
    await supervisor.waitForLine(says('ignored'));
    supervisor.signal('SIGINT');
    expect(await supervisor.waitForExit()).toEqual({ code: 130, signal: null });
    await untilTrue(() => !isAlive(pid));
  });

  it('stops at once, even while it waits before a restart', async () => {
    const supervisor = supervise({ crashing: 'process.exit(1)' }, { min: 60_000, max: 60_000 });
    await supervisor.waitForLine(ended);
    supervisor.signal('SIGTERM');
    expect(await supervisor.waitForExit()).toEqual({ code: 0, signal: null });
  });
});
