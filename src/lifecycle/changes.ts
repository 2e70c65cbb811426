/** Lets callers wait for a condition of something that tells of its changes. */
export interface Changes {
  /** Has everybody who waits look at their condition again. */
  tell(): void;
  /** Resolves once `condition` holds, `ms` are over or the signal fires. */
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
