import type { Handler } from '../src/engine/attempts/handler.ts';

/** Handlers for worker processes in tests, which load them from HANDLERS. */

/** Blocks the event loop for `payload.ms` milliseconds. */
export const block: Handler = ({ payload }) => {
  const until = performance.now() + (payload as { ms: number }).ms;
  while (performance.now() < until);
};

/** Returns at once and causes two errors outside its promise: an unhandled rejection and an uncaught exception. */
export const stray: Handler = () => {
  void Promise.reject(new Error('rejected behind the back'));
  setTimeout(() => {
    throw new Error('thrown behind the back');
  }, 1);
  return 'done';
};

/** Never returns, ignores its signal, and keeps the event loop alive. */
export const deaf: Handler = () => {
  setInterval(() => {}, 1_000);
  return new Promise(() => {});
};

/** Never returns and ignores its signal, but does not keep the event loop alive. */
export const hang: Handler = () => new Promise(() => {});

/** Ends the whole process after a delay, during which other attempts may start. */
export const exit: Handler = async ({ payload }) => {
  await new Promise((resolve) => setTimeout(resolve, (payload as { ms: number }).ms));
  process.exit((payload as { code: number }).code);
};
