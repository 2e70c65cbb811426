import type { Handler } from '../src/handlers/handler.ts';

/** Handlers for worker processes in tests, given to them as HANDLERS. */

/** Blocks the event loop for `payload.ms` milliseconds. */
export const block: Handler = ({ payload }) => {
  const until = performance.now() + (payload as { ms: number }).ms;
  while (performance.now() < until);
};

/** Returns at once, and lets two errors go astray. */
export const stray: Handler = () => {
  void Promise.reject(new Error('rejected behind the back'));
  setTimeout(() => {
    throw new Error('thrown behind the back');
  }, 1);
  return 'done';
};

/** Never returns, whatever its signal says, and keeps the event loop alive. */
export const deaf: Handler = () => {
  setInterval(() => {}, 1_000);
  return new Promise(() => {});
};

/** Never returns, whatever its signal says, and holds nothing that shows. */
export const hang: Handler = () => new Promise(() => {});

/** Ends the whole process, after a while in which others may have been started. */
export const exit: Handler = async ({ payload }) => {
  await new Promise((resolve) => setTimeout(resolve, (payload as { ms: number }).ms));
  process.exit((payload as { code: number }).code);
};
