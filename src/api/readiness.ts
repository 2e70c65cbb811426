import type { Readiness } from './routes/health.ts';

/** Where the process stands between its start and its end. */
export interface ReadinessSwitch {
  now(): Readiness;
  /** PostgreSQL has answered. */
  ready(): void;
  /** The signal to stop has come; there is no way back. */
  drain(): void;
}

export function createReadiness(): ReadinessSwitch {
  let state: Readiness = 'starting';
  return {
    now: () => state,
    ready() {
      if (state === 'starting') state = 'ready';
    },
    drain() {
      state = 'draining';
    },
  };
}
