import { memberOf, positionOf } from '../../../core/priority.ts';
import { isTerminal } from '../../../core/task.ts';
import type { ClaimEntry, ClaimFilter, EndedClaim } from './reconcile-queue.ts';
import type { ReconcileCause } from '../lease-store.ts';
import type { TaskState } from '../../order/task-states.ts';
import type { RunningTask } from './reconcile-store.ts';
import type { Pass } from '../lease.ts';
import type { SweptQueue } from './queues.ts';
import type { ReconcileContext } from './reconcile-context.ts';

/** What the in-flight hashes of all queues hold that a pass has to know. */
export interface FoundClaims {
  /** Ids of the workers that hold anything. */
  readonly holders: ReadonlySet<string>;
  readonly claims: readonly { readonly queue: string; readonly claims: readonly ClaimEntry[] }[];
}

/**
 * Reads every claim once, page by page. It gives those in the window in which
 * a claim that was never started has to be put back; older ones are left to the
 * rolling scan, or every long-running task would be looked up again and again.
 */
export async function findClaims(
  context: ReconcileContext,
  pass: Pass,
  queues: readonly SweptQueue[],
  workerIds: readonly string[] = [],
): Promise<FoundClaims> {
  const { claimLostAfterMs, claimLookUntilMs } = context.limits;
  // Of the dead, every claim counts and no other does.
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
 * Puts back what was claimed and never started, whoever holds it and whether it
 * lives or not; drops claims of tasks that have ended. A claim whose task runs
 * is right as it is, and is not looked up again in the next pass.
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

/** The same for some claims of one queue. @returns those whose tasks run */
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
      // A duplicate was claimed after the start: the running task would be taken for another worker's.
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
 * Notes running tasks as in flight where Redis does not know it.
 * @returns how many of them it did not know
 */
export async function enterRunning(context: ReconcileContext, rows: readonly RunningTask[]): Promise<number> {
  const { store, members } = context;
  let count = 0;
  for (const [queue, ofQueue] of Map.groupBy(rows, (row) => row.queue)) {
    const entered = await members.enterRunning(queue, ofQueue);
    count += entered.length;
    if (entered.length === 0) continue;
    // Settled between the two calls: nobody else would take the entry out for minutes.
    const states = await store.statusesOf(entered.flatMap(({ member }) => positionOf(member)?.id ?? []));
    const runs = new Set(
      [...states.values()].filter(({ status }) => status === 'PROCESSING').map(({ position }) => memberOf(position)),
    );
    const over = entered.filter(({ member }) => !runs.has(member)).map((claim) => ({ claim, back: null }));
    count -= await members.endClaims(queue, over);
  }
  return count;
}

/** Whether a member of a queue stands for nothing that will run: its task has ended, or has another place by now. */
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
