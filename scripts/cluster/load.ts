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
  readonly secret: string;
  readonly perSecond: number;
  readonly task: Submission;
}

export interface Load {
  /** Stops the load and waits for the answers of pending requests. */
  stop(): Promise<LoadReport>;
}

const running = new Set<Worker>();

/** Ends the loads that a failed step has left. They would disturb the next steps, and keep the process alive. */
export async function endLoads(): Promise<void> {
  await Promise.all([...running].map((thread) => thread.terminate()));
}

/**
 * Submits tasks at a steady rate, one per request, without waiting for earlier answers. It runs in a separate thread, so
 * that the steps cannot delay it.
 */
export function startLoad(api: Api, perSecond: number, task: Submission): Load {
  const order: LoadOrder = { url: api.url, secret: api.secret, perSecond, task };
  const thread = new Worker(new URL('load-thread.ts', import.meta.url), { workerData: order });
  running.add(thread);
  thread.once('exit', () => running.delete(thread));
  return {
    async stop() {
      thread.postMessage('stop');
      const [report] = (await once(thread, 'message')) as [LoadReport];
      return report;
    },
  };
}
