import { setTimeout as delay } from 'node:timers/promises';
import { scriptNamed } from '../../harness/assets.ts';
import type { LinkMode } from '../proxy.ts';
import type { Store } from '../system.ts';
import { beyondTtl, outage, requireTarget, type Fault, type FaultContext, type Step } from './fault.ts';

const EVERY_KIND = ['api', 'worker', 'reclaimer'] as const;

/** Returns the bytes that name a prepared statement in a Bind message of PostgreSQL's protocol. */
const bound = (name: string): string => `\0${name}\0`;

export const NETWORK_FAULTS: readonly Fault[] = [
  ofLink('cut from Redis', 'redis', { kind: 'cut' }, 'redis: cut', beyondTtl),
  ofLink('cut from PostgreSQL', 'postgresql', { kind: 'cut' }, 'postgresql: cut', outage),
  ofLink('one way to Redis', 'redis', { kind: 'one-way', blocked: 'to-client' }, 'redis: one way', beyondTtl),
  ofLink(
    'one way to PostgreSQL',
    'postgresql',
    { kind: 'one-way', blocked: 'to-client' },
    'postgresql: one way',
    outage,
  ),
  ofLink('half-open to Redis', 'redis', { kind: 'half-open' }, 'redis: half-open', outage),
  ofLink('half-open to PostgreSQL', 'postgresql', { kind: 'half-open' }, 'postgresql: half-open', outage),
  ofLink('latency and loss to Redis', 'redis', { kind: 'slow', latencyMs: 50, loss: 0.02 }, null, outage),
  ofLink('latency and loss to PostgreSQL', 'postgresql', { kind: 'slow', latencyMs: 50, loss: 0.02 }, null, outage),
  {
    name: 'answers lost after execution',
    family: 'network',
    resource: 'none',
    targets: null,
    rows: [],
    lastsMs: outage,
    async inject({ system }, step) {
      const statements = ['submit', 'submit-without-pairs', 'start', 'settle'].map(bound);
      const scripts = ['enqueue', 'claim', 'settle', 'release'].map((name) => scriptNamed(name).sha);
      const links = system.processes.flatMap(({ name }) => [
        { link: system.linkOf(name, 'postgresql'), texts: statements },
        { link: system.linkOf(name, 'redis'), texts: scripts },
      ]);
      await Promise.all(
        links.map(({ link, texts }) => system.proxy.setMode(link, { kind: 'lose-answers', texts, nth: 6 })),
      );
      const disturbance = system.disturb('redis', 'answers lost');
      await delay(step.lastsMs);
      const lost = await Promise.all(links.map(({ link }) => system.proxy.setMode(link, { kind: 'pass' })));
      disturbance.end();
      return `${lost.reduce((sum, count) => sum + count, 0)} answers lost so far in the run`;
    },
  },
];

function ofLink(name: string, store: Store, mode: LinkMode, silence: string | null, lastsMs: Fault['lastsMs']): Fault {
  const inject = async ({ system }: FaultContext, step: Step): Promise<string> => {
    const target = requireTarget(step);
    const link = system.linkOf(target, store);
    const cut = silence === null ? null : system.process(target).cutOff(silence);
    await system.proxy.setMode(link, mode);
    await delay(step.lastsMs);
    await system.proxy.setMode(link, { kind: 'pass' });
    cut?.end();
    return `for ${step.lastsMs} ms`;
  };
  return { name, family: 'network', resource: 'target', targets: EVERY_KIND, rows: [], lastsMs, inject };
}
