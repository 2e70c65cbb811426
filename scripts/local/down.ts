import { setTimeout as delay } from 'node:timers/promises';
import { isAlive } from '../stores/process-tree.ts';
import { leaveCheckout, paths, runningUp, shown } from './state.ts';

/** Stops everything that `scripts/up` started from this checkout, as Ctrl-C does. */
const TIMEOUT_MS = 90_000;

const state = runningUp();
if (state === null) {
  leaveCheckout();
  console.log('nothing is running');
} else {
  process.kill(state.pid, 'SIGTERM');
  const deadline = performance.now() + TIMEOUT_MS;
  while (isAlive(state.pid) && performance.now() < deadline) await delay(50);
  if (isAlive(state.pid)) {
    console.error(
      `process ${state.pid} still runs after ${TIMEOUT_MS / 1_000} s; see ${shown(paths.detachedLog)} and ${shown(paths.logs)}`,
    );
    process.exitCode = 1;
  } else {
    console.log('stopped');
  }
}
