import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Api } from './api.ts';
import type { Submission } from './tasks.ts';

export interface LoadReport {
  /** Ids of the tasks whose submission was answered with 200. */
  readonly accepted: readonly string[];
  /** Status and body, or the error, of every other request. */
  readonly failures: readonly string[];
  readonly slowestMs: number;
}

export interface LoadOrder {
  readonly url: string;
  readonly perSecond: number;
  readonly task: Submission;
}

export interface Load {
  /** Stops the load and waits for the answers of pending requests. */
  stop(): Promise<LoadReport>;
}

/**
 * Submits tasks at a steady rate, one per request, without waiting for earlier answers. It runs in a separate thread, so
 * that the steps cannot delay it.
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
