import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Api } from './api.ts';
import type { Submission } from './tasks.ts';

export interface LoadReport {
  /** Ids of the tasks that were answered 200. */
  readonly accepted: readonly string[];
  /** Status and body, or what went wrong, of every other request. */
  readonly failures: readonly string[];
  readonly slowestMs: number;
}

export interface LoadOrder {
  readonly url: string;
  readonly perSecond: number;
  readonly task: Submission;
}

export interface Load {
  /** Ends the load when what is under way has been answered. */
  stop(): Promise<LoadReport>;
}

/**
 * Submits at a steady rate, each request on its own, whether the ones before it were answered or not. In a thread of
 * its own: what the steps run meanwhile must not hold it up.
 */
export function startLoad(api: Api, perSecond: number, task: Submission): Load {
  const order: LoadOrder = { url: api.url, perSecond, task };
  const thread = new Worker(new URL('load-thread.ts', import.meta.url), { workerData: order });
  return {
    async stop() {
      thread.postMessage('stop');
      const [report] = (await once(thread, 'message')) as [LoadReport];
      return report;
    },
  };
}
