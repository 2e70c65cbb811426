import { setTimeout as delay } from 'node:timers/promises';
import { KEY_RETRY_MS } from '../../config/timings.ts';
import { StatementTimedOutError } from '../../core/errors.ts';
import type { Waiting } from './submitter.ts';

/**
 * Submissions of a statement in which a key was locked by somebody else. Each is tried alone, one after the other, so that
 * the one whose key is locked holds up no other, and takes no more than one connection, however many such keys there are.
 */
export interface OneByOne {
  add(entries: readonly Waiting[]): void;
  /** Whether a submission with this key is among them. */
  has(key: string | undefined): boolean;
  readonly busy: boolean;
  untilIdle(): Promise<void>;
}

export interface OneByOneOptions {
  /** Milliseconds since its arrival after which a submission is tried no more. */
  readonly waitMaxMs: number;
  /** Resolves when the submission has its result; throws what the store throws. */
  readonly commit: (entry: Waiting) => Promise<void>;
  /** Called when a key has become free. */
  readonly onDone: () => void;
}

export function createOneByOne({ waitMaxMs, commit, onDone }: OneByOneOptions): OneByOne {
  const line: Waiting[] = [];
  const keys = new Set<string>();
  let running: Promise<void> | undefined;

  const end = ({ submission }: Waiting): void => {
    if (submission.idempotency !== null) keys.delete(submission.idempotency.key);
    onDone();
  };

  const run = async (): Promise<void> => {
    // `running` is set first.
    await Promise.resolve();
    for (let entry = line.shift(); entry !== undefined; entry = line.shift()) {
      if (performance.now() - entry.sinceMs >= waitMaxMs) {
        entry.reject(keyIsLocked(waitMaxMs));
        end(entry);
        continue;
      }
      try {
        await commit(entry);
        end(entry);
      } catch (error) {
        if (isLocked(error)) {
          line.push(entry);
          await delay(KEY_RETRY_MS);
        } else {
          entry.reject(error);
          end(entry);
        }
      }
    }
    running = undefined;
  };

  return {
    add(entries) {
      line.push(...entries);
      for (const { submission } of entries) if (submission.idempotency !== null) keys.add(submission.idempotency.key);
      if (line.length > 0) running ??= run();
    },
    has: (key) => key !== undefined && keys.has(key),
    get busy() {
      return running !== undefined;
    },
    async untilIdle() {
      await running;
    },
  };
}

export function isLocked(error: unknown): boolean {
  return error instanceof StatementTimedOutError && error.locked;
}

/** What a submission gets in the end whose key somebody else holds. */
export function keyIsLocked(afterMs: number): StatementTimedOutError {
  return new StatementTimedOutError(
    new Error(`the Idempotency-Key is held by a statement that has not ended for ${afterMs} ms`),
    'submit',
    true,
  );
}
