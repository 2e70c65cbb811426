import { setTimeout as delay } from 'node:timers/promises';
import { KEY_RETRY_MS } from '../../config/timings.ts';
import { StatementTimedOutError } from '../../core/errors.ts';
import type { Submission } from '../../core/task.ts';
import { scopedKey } from './scoped-key.ts';
import type { SubmitResult } from './submit-store.ts';

/** A submission whose submitter waits for the result. */
export interface Waiting {
  readonly submission: Submission;
  readonly client: string | null;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
  readonly resolve: (result: SubmitResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Commits the submissions of a statement that failed because another transaction locked one of its keys. It tries each
 * submission alone, one after the other. The locked key then delays no other statement, and any number of locked keys
 * takes only one connection.
 */
export interface OneByOne {
  add(entries: readonly Waiting[]): void;
  /** Whether a submission with this scoped key waits here. */
  has(key: string | undefined): boolean;
  readonly busy: boolean;
  untilIdle(): Promise<void>;
}

export interface OneByOneOptions {
  /** Milliseconds after the arrival of a submission at which it is given up. */
  readonly waitMaxMs: number;
  /** Resolves when the submission has its result; rejects with the store's error. */
  readonly commit: (entry: Waiting) => Promise<void>;
  /** Called when a submission has ended, so that others with the same key may go on. */
  readonly onDone: () => void;
}

export function createOneByOne({ waitMaxMs, commit, onDone }: OneByOneOptions): OneByOne {
  const line: Waiting[] = [];
  const keys = new Set<string>();
  let running: Promise<void> | undefined;

  const end = ({ submission }: Waiting): void => {
    const key = scopedKey(submission);
    if (key !== undefined) keys.delete(key);
    onDone();
  };

  const run = async (): Promise<void> => {
    // Continue only after the caller has set `running`.
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
      for (const { submission } of entries) {
        const key = scopedKey(submission);
        if (key !== undefined) keys.add(key);
      }
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

/** Returns the error for a submission whose key stayed locked. */
export function keyIsLocked(afterMs: number): StatementTimedOutError {
  return new StatementTimedOutError(
    new Error(`another statement has held the Idempotency-Key for ${afterMs} ms`),
    'submit',
    true,
  );
}
