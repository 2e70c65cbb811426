/** Lets callers wait for a condition. The owner of the state calls `tell` after every change. */
export interface Changes {
  /** Makes every waiting caller check its condition again. */
  tell(): void;
  /** Resolves when `condition` holds, when `ms` milliseconds are over, or when the signal fires. */
  until(condition: () => boolean, ms: number, signal?: AbortSignal): Promise<void>;
}

export function createChanges(): Changes {
  const watchers = new Set<() => void>();
  return {
    tell() {
      for (const watcher of watchers) watcher();
    },
    until(condition, ms, signal) {
      if (condition() || signal?.aborted === true || ms <= 0) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      const look = (): void => {
        if (condition()) resolve();
      };
      const timer = setTimeout(resolve, ms);
      const onAbort = (): void => resolve();
      watchers.add(look);
      signal?.addEventListener('abort', onAbort, { once: true });
      return promise.finally(() => {
        clearTimeout(timer);
        watchers.delete(look);
        signal?.removeEventListener('abort', onAbort);
      });
    },
  };
}
