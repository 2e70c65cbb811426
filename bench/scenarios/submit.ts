import { join } from 'node:path';
import type { Arena } from '../contender.ts';
import { payloadOf, scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { packageVersion } from '../contenders/packages.ts';
import { paced, saturate, type HttpLoad } from '../load.ts';
import { cpuSeconds, residentMb, startProcess, type BenchProcess } from '../processes.ts';
import type { Entrant, Measurement, Scenario, Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';

const CONNECTIONS = 64;
const body = (n: number): string => JSON.stringify({ payload: payloadOf(n, 0) });

/** Single submissions, beside the two servers that bound what can be had. */
export function submit({ quick }: Size): Scenario {
  const seconds = quick ? 2 : 6;
  const kind = scheduler();
  return {
    name: 'submit',
    title: `Single \`POST /tasks\`, ${CONNECTIONS} keep-alive connections, limiter on`,
    goal: '≥ 0.8 × Koa echo; ≥ 5 × one INSERT a request; p99 at half that load ≤ 15 ms',
    unit: 'requests/s',
    more: true,
    entrants: [
      {
        name: kind.name,
        settings: 'API process as it is, RATE_LIMIT_PER_MINUTE=10000000',
        unavailable: () => null,
        async measure(arena) {
          const contender = await kind.open(arena);
          try {
            return await measureScheduler(contender, arena, seconds);
          } finally {
            await contender.close();
          }
        },
      },
      ceiling('Koa echo', 'echo', `koa ${packageVersion('koa')}, the same body parser`, seconds),
      ceiling('Koa + one INSERT', 'insert', 'pool of 20, prepared', seconds),
    ],
  };
}

async function measureScheduler(
  contender: SchedulerContender,
  { stores }: Arena,
  seconds: number,
): Promise<Measurement> {
  const load: HttpLoad = { url: contender.baseUrl, path: '/tasks', connections: CONNECTIONS, body };
  const warm = await saturate(load, seconds / 2);
  const cpuBefore = cpuSeconds(contender.api.pid);
  const full = await saturate(load, seconds);
  const cpu = cpuSeconds(contender.api.pid) - cpuBefore;
  const perSecond = full.requests / full.seconds;
  const half = await paced(load, perSecond / 2, seconds);

  const sent = warm.requests + full.requests + half.requests;
  const stored = await contender.unfinished();
  if (stored !== sent) throw new Error(`${sent} answered with 200, ${stored} stored`);
  const entered = await stores.redis.zcard(`{${contender.redisPrefix}:1:default}:ready`);
  if (entered !== sent) throw new Error(`${sent} answered with 200, ${entered} in Redis`);
  return {
    value: perSecond,
    details: {
      'p50 ms at half load': quantile(half.latenciesMs, 0.5),
      'p99 ms at half load': quantile(half.latenciesMs, 0.99),
      'p99 ms at full load': quantile(full.latenciesMs, 0.99),
      'API CPU µs/request': (cpu * 1e6) / full.requests,
      'API resident MB': residentMb(contender.api.pid),
    },
  };
}

function ceiling(name: string, file: string, settings: string, seconds: number): Entrant {
  return {
    name,
    settings,
    unavailable: () => null,
    async measure({ stores, directory }) {
      const server: BenchProcess = await startProcess({
        command: [process.execPath, join(import.meta.dirname, '..', 'ceilings', `${file}.ts`)],
        env: { DATABASE_URL: await stores.freshDatabase('ceiling', async () => {}), NODE_ENV: 'production' },
        isReady: (line) => line.startsWith('{'),
        log: join(directory, 'ceilings.log'),
      });
      try {
        const { port } = JSON.parse(server.ready) as { port: number };
        const load: HttpLoad = { url: new URL(`http://127.0.0.1:${port}`), path: '/', connections: CONNECTIONS, body };
        await saturate(load, seconds / 2);
        const { requests, seconds: took, latenciesMs } = await saturate(load, seconds);
        return { value: requests / took, details: { 'p99 ms at full load': quantile(latenciesMs, 0.99) } };
      } finally {
        await server.stop();
      }
    },
  };
}
