import { StatementTimedOutError, StoreRefusedError, StoreUnavailableError } from '../../core/errors.ts';
import { PassEndedError, type Pass } from './lease.ts';
import type { Findings } from './reconcile/findings.ts';
import type { SweepContext } from './sweep-context.ts';
import type { DutyName } from './sweep-result.ts';

/** The arguments of every duty. */
export interface DutyContext extends SweepContext {
  readonly findings: Findings;
  /** The duty's own JSON, which the next pass gets, whichever process runs it; undefined at the start. */
  readonly place: { get(): unknown; set(place: unknown): void };
  /** Whether the duty has used up its budget in this pass. It leaves the rest to the next pass then. */
  isSpent(): boolean;
}

/** `unfinished` means that the next pass goes on with the duty, even if its interval is not over. */
export type DutyEnd = 'ended' | 'unfinished';

/** One step of a pass. If a duty fails, the others still run. */
export interface Duty {
  readonly name: DutyName;
  /** Milliseconds that the duty may take in one pass. */
  readonly budgetMs: number;
  /** Milliseconds that the duty rests after it has ended or failed. Without it, the duty runs in every pass. */
  readonly everyMs?: number;
  /** Only the reclaimer runs the duty, and not a stand-in. If it fails, the pass still counts as successful. */
  readonly housekeeping?: boolean;
  /** Findings that the duty needs. It is skipped if one of them is missing. */
  readonly needs?: readonly (keyof Findings)[];
  run(context: DutyContext, pass: Pass): Promise<DutyEnd>;
}

/**
 * Remembers which duties failed last time, so that a duty that keeps failing is logged once instead of in every pass.
 */
export interface DutyRunner {
  /**
   * Runs the duties of a pass one after the other. Errors of a duty are logged and noted in `pass.result.failed`.
   * @throws PassEndedError when the lease is lost or the process has to stop; also errors of a renewal of the lease
   */
  runAll(context: SweepContext, pass: Pass, duties: readonly Duty[]): Promise<void>;
}

export function createDutyRunner(): DutyRunner {
  const failures = new Map<DutyName, number>();

  const noteFailure = ({ log }: SweepContext, duty: DutyName, error: unknown): void => {
    const before = failures.get(duty) ?? 0;
    failures.set(duty, before + 1);
    const fields = { err: error, duty };
    const isTimedOut = error instanceof StatementTimedOutError;
    // An outage of a store is logged once, by the code that notices it.
    const isAway = error instanceof StoreUnavailableError && !isTimedOut && !(error instanceof StoreRefusedError);
    if (before > 0 || isAway) log.debug(fields, 'duty failed again');
    else if (isTimedOut) log.warn(fields, 'duty failed, the others go on');
    else log.error(fields, 'duty failed, the others go on');
  };

  const noteSuccess = ({ log }: SweepContext, duty: DutyName): void => {
    const before = failures.get(duty);
    if (before === undefined) return;
    failures.delete(duty);
    log.info({ duty, failures: before }, 'duty succeeds again');
  };

  return {
    async runAll(context, pass, duties) {
      const findings: Findings = { queues: null, claims: null };
      for (const duty of duties) {
        if (!isDue(duty, pass) || duty.needs?.some((finding) => findings[finding] === null) === true) continue;
        // Keep this outside the try block: without the lease the pass must not go on.
        await pass.keep();
        const { name } = duty;
        try {
          const place = placeOf(duty, pass);
          const end = await duty.run({ ...context, findings, place, isSpent: budgetOf(context, duty) }, pass);
          if (end === 'ended') rest(duty, pass);
          noteSuccess(context, name);
        } catch (error) {
          if (error instanceof PassEndedError) throw error;
          rest(duty, pass);
          pass.result.failed.push(name);
          if (duty.housekeeping !== true) pass.result.well = false;
          noteFailure(context, name, error);
        }
      }
    },
  };
}

function placeOf({ name }: Duty, { cursors }: Pass): DutyContext['place'] {
  return {
    get: () => cursors.places?.[name],
    // An undefined place is left out of the JSON.
    set: (place) => {
      cursors.places = { ...cursors.places, [name]: place };
    },
  };
}

function budgetOf({ clock }: SweepContext, { budgetMs }: Duty): () => boolean {
  const sinceMs = clock.monotonicMs();
  return () => clock.monotonicMs() - sinceMs >= budgetMs;
}

function isDue({ name, everyMs, housekeeping = false }: Duty, { role, cursors, grant }: Pass): boolean {
  if (housekeeping && role !== 'reclaimer') return false;
  const restedMs = cursors.rested?.[name];
  if (everyMs === undefined || restedMs === undefined) return true;
  // A time in the future comes from another clock, so it does not count.
  return restedMs > grant.nowMs || grant.nowMs - restedMs >= everyMs;
}

function rest({ name, everyMs }: Duty, { cursors, grant }: Pass): void {
  if (everyMs !== undefined) cursors.rested = { ...cursors.rested, [name]: grant.nowMs };
}
