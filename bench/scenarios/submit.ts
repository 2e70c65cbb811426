import { join } from 'node:path';
import { packageVersion } from '../contenders/packages.ts';
import { payloadOf, scheduler } from '../contenders/scheduler.ts';
import { paced, saturate, type HttpLoad } from '../load.ts';
import { cpuSeconds, residentMb, startProcess } from '../processes.ts';
import type { Entrant, Measurement, Opened, Scenario, Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';

const CONNECTIONS = 64;
const body = (n: number): string => JSON.stringify({ payload: payloadOf(n, 0) });

/** Measures single submissions, in turn with two minimal servers for comparison. */
export function submit({ quick }: Size): Scenario {
  const seconds = quick ? 0.7 : 3;
  const kind = scheduler();
  return {
    name: 'submit',
    title: `Single \`POST /tasks\`, ${CONNECTIONS} keep-alive connections, limiter on`,
    goal: '≥ 0.8 × Koa echo; ≥ 5 × one INSERT a request; p99 at half that load ≤ 15 ms',
    unit: 'requests/s',
    more: true,
    inTurn: quick ? 5 : 3,
    // Each floor is about half of the ratio on a busy machine with two CPUs. CPU time depends least on other work.
    floors: [
      { than: 'Koa echo', ratio: 0.06 },
      { than: 'Koa echo', detail: CPU_TIME, ratio: 0.1 },
      { than: 'Koa + one INSERT', ratio: 0.35 },
    ],
    entrants: [
      {
        name: kind.name,
        settings: 'API process as it is, RATE_LIMIT_PER_MINUTE=10000000',
        unavailable: () => null,
        async open(arena): Promise<Opened> {
          const contender = await kind.open(arena);
          const load: HttpLoad = { url: contender.baseUrl, path: '/tasks', connections: CONNECTIONS, body };
          let sent = (await saturate(load, seconds)).requests;
          return {
            async measure() {
              const { requests, ...measured } = await measureServer(load, contender.api.pid, seconds);
              const half = await paced(load, measured.value / 2, seconds);
              sent += requests + half.requests;
              return {
                value: measured.value,
                details: {
                  'p50 ms at half load': quantile(half.latenciesMs, 0.5),
                  'p99 ms at half load': quantile(half.latenciesMs, 0.99),
                  ...measured.details,
                },
              };
            },
            async verify() {
              const stored = await contender.unfinished();
              if (stored !== sent) throw new Error(`${sent} answered with 200, ${stored} stored`);
              const entered = await arena.stores.redis.zcard(contender.queueKeys.ready);
              if (entered !== sent) throw new Error(`${sent} answered with 200, ${entered} in Redis`);
            },
            close: () => contender.close(),
          };
        },
      },
      ceiling('Koa echo', 'echo', `koa ${packageVersion('koa')}, the same body parser`, seconds),
      ceiling('Koa + one INSERT', 'insert', 'pool of 20, prepared', seconds),
    ],
  };
}

const CPU_TIME = 'server CPU µs/request';

async function measureServer(
  load: HttpLoad,
  pid: number,
  seconds: number,
): Promise<Measurement & { requests: number }> {
  const cpuBefore = cpuSeconds(pid);
  const full = await saturate(load, seconds);
  const cpu = cpuSeconds(pid) - cpuBefore;
  return {
    requests: full.requests,
    value: full.requests / full.seconds,
    details: {
      'p99 ms at full load': quantile(full.latenciesMs, 0.99),
      [CPU_TIME]: (cpu * 1e6) / full.requests,
      'server resident MB': residentMb(pid),
    },
  };
}

function ceiling(name: string, file: string, settings: string, seconds: number): Entrant {
  return {
    name,
    settings,
    unavailable: () => null,
    async open({ stores, directory }): Promise<Opened> {
      const server = await startProcess({
        command: [process.execPath, join(import.meta.dirname, '..', 'ceilings', `${file}.ts`)],
        env: { DATABASE_URL: await stores.freshDatabase(file, async () => {}), NODE_ENV: 'production' },
        isReady: (line) => line.startsWith('{'),
        log: join(directory, 'ceilings.log'),
      });
      const { port } = JSON.parse(server.ready) as { port: number };
      const load: HttpLoad = { url: new URL(`http://127.0.0.1:${port}`), path: '/', connections: CONNECTIONS, body };
      await saturate(load, seconds);
      return {
        async measure() {
          const { value, details } = await measureServer(load, server.pid, seconds);
          return { value, ...(details === undefined ? {} : { details }) };
        },
        verify: async () => {},
        close: () => server.stop(),
      };
    },
  };
}
