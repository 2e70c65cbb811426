/** Long work on the thread of the event loop. It yields at least once per millisecond, and can be interrupted there. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** Long work blocks the event loop for this long before everything else gets its turn. */
const SLICE_MS = 5;

interface Job {
  readonly steps: Steps<unknown>;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

const jobs: Job[] = [];
let scheduled = false;

/**
 * Does long work in slices of a few milliseconds, so that it never blocks the event loop for longer. Each turn of the
 * event loop runs one slice, and the callers take turns.
 */
export function inSlices<Result>(steps: Steps<Result>): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  jobs.push({ steps, resolve, reject });
  schedule();
  return promise;
}

/** Does the same work without a pause. Use it for work that is known to be short. */
export function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

function schedule(): void {
  if (scheduled || jobs.length === 0) return;
  scheduled = true;
  setImmediate(turn);
}

function turn(): void {
  scheduled = false;
  const job = jobs.shift();
  if (job === undefined) return;
  const untilMs = performance.now() + SLICE_MS;
  try {
    do {
      const { done, value } = job.steps.next();
      if (done === true) {
        job.resolve(value as never);
        return;
      }
    } while (performance.now() < untilMs);
    jobs.push(job);
  } catch (error) {
    job.reject(error);
  } finally {
    schedule();
  }
}
