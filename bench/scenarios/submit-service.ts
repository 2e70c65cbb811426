import type { Arena, ContenderKind, Service } from '../contender.ts';
import { packageVersion } from '../contenders/packages.ts';
import { payloadOf, scheduler } from '../contenders/scheduler.ts';
import { startServer } from '../contenders/service.ts';
import { paced, saturate, type HttpLoad } from '../load.ts';
import { IN_ALL, startMeter } from '../meter.ts';
import { residentMb } from '../processes.ts';
import type { Entrant, Floor, Measurement, Opened, Scenario, Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';

const CONNECTIONS = 64;
const SERVER_CPU = 'server CPU µs';

/** On a busy machine fewer requests share a statement, so that these ratios fall, and those to services rise. */
const FLOORS: readonly Floor[] = [
  { than: 'Koa echo', detail: SERVER_CPU, ratio: 0.24 },
  { than: 'Koa + one INSERT', detail: SERVER_CPU, ratio: 0.62 },
  { than: 'Koa + pg-boss', detail: SERVER_CPU, ratio: 1 },
  { than: 'Koa + pg-boss', detail: IN_ALL, ratio: 1.5 },
];

/**
 * Measures single submissions over HTTP, in turn with the services that people build around a library, and with two
 * minimal servers. All servers run at the same time.
 */
export function submitService({ quick }: Size, peers: readonly ContenderKind[]): Scenario {
  const seconds = quick ? 0.5 : 3;
  const ours = scheduler();
  return {
    name: 'submit-service',
    title: `Single submissions over HTTP, ${CONNECTIONS} keep-alive connections`,
    goal: '≥ 1.5 × pg-boss and graphile-worker, ≥ 1 × BullMQ; CPU of the API ≤ 1.3 × Koa echo; p99 at half that load ≤ 15 ms',
    unit: 'requests/s',
    more: true,
    inTurn: quick ? 5 : 3,
    floors: FLOORS,
    entrants: [
      submitter(ours, ours.name, 'API process as it is, rate limiter on', { seconds, withHalf: true }),
      ceiling('Koa echo', 'echo', `koa ${packageVersion('koa')}, the same body parser`, seconds),
      ceiling('Koa + one INSERT', 'insert', 'pool of 20, prepared', seconds),
      ...peers.map((kind) =>
        submitter(kind, `Koa + ${kind.name}`, 'one submission a request, awaited', { seconds, withHalf: false }),
      ),
    ],
  };
}

/** @param withHalf whether the latency at half of its load is measured too; `latency-under-load` has that of peers */
function submitter(
  kind: ContenderKind,
  name: string,
  settings: string,
  { seconds, withHalf }: { readonly seconds: number; readonly withHalf: boolean },
): Entrant {
  return {
    name,
    settings,
    unavailable: kind.unavailable,
    async open(arena): Promise<Opened> {
      const contender = await kind.open(arena);
      const service = await contender.startService();
      const load = loadOn(service);
      let sent = (await saturate(load, seconds)).requests;
      return {
        async measure() {
          const { requests, ...measured } = await measureServer(arena, load, service.pid, seconds);
          sent += requests;
          if (!withHalf) return measured;
          const half = await paced(load, measured.value / 2, seconds);
          sent += half.requests;
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
          const entered = await contender.entered?.();
          if (entered !== undefined && entered !== sent)
            throw new Error(`${sent} answered with 200, ${entered} in Redis`);
        },
        close: () => contender.close(),
      };
    },
  };
}

function loadOn({ url, path, body }: Pick<Service, 'url' | 'path' | 'body'>): HttpLoad {
  return { url, path, connections: CONNECTIONS, body };
}

async function measureServer(
  arena: Arena,
  load: HttpLoad,
  pid: number,
  seconds: number,
): Promise<Measurement & { requests: number }> {
  const meter = await startMeter(arena, { server: [pid] });
  const full = await saturate(load, seconds);
  const costs = await meter.read(full.requests);
  return {
    requests: full.requests,
    value: full.requests / full.seconds,
    details: {
      'p99 ms at full load': quantile(full.latenciesMs, 0.99),
      ...costs,
      'server resident MB': residentMb(pid),
    },
  };
}

function ceiling(name: string, file: string, settings: string, seconds: number): Entrant {
  return {
    name,
    settings,
    unavailable: () => null,
    async open(arena): Promise<Opened> {
      const env = { DATABASE_URL: await arena.stores.freshDatabase(file, async () => {}) };
      const { url, process: server } = await startServer(arena, `ceilings/${file}.ts`, env);
      const load = loadOn({ url, path: '/', body: (n) => JSON.stringify({ payload: payloadOf(n, 0) }) });
      await saturate(load, seconds);
      return {
        async measure() {
          const { value, details = {} } = await measureServer(arena, load, server.pid, seconds);
          return { value, details };
        },
        verify: async () => {},
        close: () => server.stop(),
      };
    },
  };
}
