import { memberOf, positionOf } from '../../../core/priority.ts';
import { isTerminal } from '../../../core/task.ts';
import type { TaskState } from '../../order/task-states.ts';
import type { ReconcileCause } from '../lease-store.ts';
import type { Pass } from '../lease.ts';
import type { FoundClaims, SweptQueue } from './findings.ts';
import type { ReconcileContext } from './reconcile-context.ts';
import type { ClaimEntry, ClaimFilter, EndedClaim } from './reconcile-queue.ts';
import type { RunningTask } from './reconcile-store.ts';

/**
 * Reads every claim once, page by page. It returns the claims that are old enough to be lost but younger than
 * `claimLookUntilMs`. Older claims are left to the rolling scan; otherwise every pass would look up every long-running
 * task. With `workerIds` it returns all claims of these workers instead.
 */
export async function findClaims(
  context: ReconcileContext,
  pass: Pass,
  queues: readonly SweptQueue[],
  workerIds: readonly string[] = [],
): Promise<FoundClaims> {
  const { claimLostAfterMs, claimLookUntilMs } = context.limits;
  // For dead workers, take all of their claims, and none of other workers: no age is both at least 1 and at most 0.
  const filter: ClaimFilter =
    workerIds.length > 0
      ? { minAgeMs: 1, maxAgeMs: 0, workerIds }
      : { minAgeMs: claimLostAfterMs, maxAgeMs: claimLookUntilMs, workerIds };
  const holders = new Set<string>();
  const found: { queue: string; claims: ClaimEntry[] }[] = [];
  for (const { name, inflight } of queues) {
    if (inflight === 0) continue;
    const claims: ClaimEntry[] = [];
    let cursor = '0';
    do {
      await pass.keep();
      const page = await context.members.inflightPage(name, cursor, filter);
      for (const holder of page.holders) holders.add(holder);
      claims.push(...page.claims);
      cursor = page.cursor;
    } while (cursor !== '0');
    if (claims.length > 0) found.push({ queue: name, claims });
  }
  return { holders, claims: found };
}

/**
 * Puts back tasks that were claimed and never started, whether the holder is alive or not, and drops claims of tasks
 * that have ended. A claim whose task runs is right, and the next pass does not look it up again.
 */
export async function judgeClaims(context: ReconcileContext, pass: Pass, found: FoundClaims): Promise<void> {
  const running = new Set<string>();
  for (const { queue, claims } of found.claims) {
    const [known, open] = partition(claims, (claim) => context.memory.running.has(nameOf(claim)));
    const right = await endLostClaims(context, pass, queue, open);
    for (const claim of [...known, ...right]) running.add(nameOf(claim));
  }
  context.memory.running = running;
}

/** Does the same for some claims of one queue. @returns the claims whose tasks run */
export async function endLostClaims(
  context: ReconcileContext,
  pass: Pass,
  queue: string,
  claims: readonly ClaimEntry[],
): Promise<ClaimEntry[]> {
  const right: ClaimEntry[] = [];
  for (let i = 0; i < claims.length; i += context.limits.pageRows) {
    await pass.keep();
    right.push(...(await judgePage(context, pass, queue, claims.slice(i, i + context.limits.pageRows))));
  }
  return right;
}

async function judgePage(
  context: ReconcileContext,
  pass: Pass,
  queue: string,
  claims: readonly ClaimEntry[],
): Promise<ClaimEntry[]> {
  const positions = claims.map(({ member }) => positionOf(member));
  const states = await context.store.statusesOf(positions.flatMap((position) => position?.id ?? []));
  const back: EndedClaim[] = [];
  const dropped: EndedClaim[] = [];
  const right: ClaimEntry[] = [];
  const misnamed: RunningTask[] = [];
  claims.forEach((claim, i) => {
    const state = states.get(positions[i]?.id ?? '');
    if (state === undefined || isStale(state, queue, claim.member)) dropped.push({ claim, back: null });
    else if (state.workerId === null) back.push({ claim, back: state });
    else if (claim.value.startsWith(`${state.workerId} `)) right.push(claim);
    else {
      // Another worker claimed a duplicate after the start. Drop its claim, or the task would seem to run on that
      // worker.
      dropped.push({ claim, back: null });
      misnamed.push({ queue, position: state.position, workerId: state.workerId });
    }
  });
  note(pass, 'claim', await context.members.endClaims(queue, back));
  note(pass, 'stale', await context.members.endClaims(queue, dropped));
  await enterRunning(context, misnamed);
  return right;
}

/**
 * Enters running tasks into `inflight` if Redis does not have them there.
 * @returns how many were missing
 */
export async function enterRunning(context: ReconcileContext, rows: readonly RunningTask[]): Promise<number> {
  const { store, members } = context;
  let count = 0;
  for (const [queue, ofQueue] of Map.groupBy(rows, (row) => row.queue)) {
    const entered = await members.enterRunning(queue, ofQueue);
    count += entered.length;
    if (entered.length === 0) continue;
    // A task may have been settled between the two calls. Remove its entry here, because otherwise it would stay for
    // minutes.
    const states = await store.statusesOf(entered.flatMap(({ member }) => positionOf(member)?.id ?? []));
    const runs = new Set(
      [...states.values()].filter(({ status }) => status === 'PROCESSING').map(({ position }) => memberOf(position)),
    );
    const over = entered.filter(({ member }) => !runs.has(member)).map((claim) => ({ claim, back: null }));
    count -= await members.endClaims(queue, over);
  }
  return count;
}

/** Whether a member of a queue is useless: its task has ended, or is in another queue or at another place by now. */
export function isStale(state: TaskState, queue: string, member: string): boolean {
  return isTerminal(state.status) || state.queue !== queue || memberOf(state.position) !== member;
}

export function note(pass: Pass, cause: ReconcileCause, count: number): void {
  pass.result.reconciled[cause] += count;
}

function partition<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

function nameOf({ member, value }: ClaimEntry): string {
  return `${member} ${value}`;
}
