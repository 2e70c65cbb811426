import { StatementTimedOutError, StoreRefusedError, StoreUnavailableError } from '../../core/errors.ts';
import type { FoundClaims } from './reconcile/claims.ts';
import { PassEndedError, type Pass } from './lease.ts';
import type { SweptQueue } from './reconcile/queues.ts';
import type { SweepContext } from './sweep-context.ts';

/** Names a duty: logs and metrics show it. */
export type DutyName = string;

/** Stands beside the duties' names for what ended a pass as a whole: a refusal by Redis before the first duty, or of the lease. */
export const WHOLE_PASS: DutyName = 'pass';

/** What earlier duties of a pass found out for later ones; null where they failed. */
export interface Findings {
  queues: readonly SweptQueue[] | null;
  claims: FoundClaims | null;
}

/** What a duty gets. */
export interface DutyContext extends SweepContext {
  readonly findings: Findings;
  /** Where the duty stands between two passes, whoever runs them: JSON of its own, or undefined at the start. */
  readonly place: { get(): unknown; set(place: unknown): void };
  /** Whether the duty has used up its budget in this pass; it then leaves the rest to the next one. */
  isSpent(): boolean;
}

/** `unfinished`: the next pass goes on with it, even if its interval is not over. */
export type DutyEnd = 'ended' | 'unfinished';

/** One thing that a pass does. A failure of one keeps no other from running. */
export interface Duty {
  readonly name: DutyName;
  /** Milliseconds that it may go on in one pass. */
  readonly budgetMs: number;
  /** Milliseconds that it rests after it ended or failed; without it, it runs in every pass. */
  readonly everyMs?: number;
  /** Only the reclaimer has it, and no worker that stands in. A pass counts as good although it failed. */
  readonly housekeeping?: boolean;
  /** It is left out where an earlier duty did not find these. */
  readonly needs?: readonly (keyof Findings)[];
  run(context: DutyContext, pass: Pass): Promise<DutyEnd>;
}

/** Knows which duties failed the last time, so that a duty that keeps failing has one line and not one a pass. */
export interface DutyRunner {
  /**
   * Runs the duties of a pass one after the other. What one of them throws is logged and noted in `pass.result.failed`.
   * @throws PassEndedError when the lease is lost or the process is to stop, and what a renewal of the lease throws
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
    // A store that is away has a line of its own, where that is noticed.
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
        // Outside of the try: without the lease there is no pass that could go on.
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
    // JSON leaves out what is undefined.
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
  // A time in the future is another clock's.
  return restedMs > grant.nowMs || grant.nowMs - restedMs >= everyMs;
}

function rest({ name, everyMs }: Duty, { cursors, grant }: Pass): void {
  if (everyMs !== undefined) cursors.rested = { ...cursors.rested, [name]: grant.nowMs };
}
