import { ROLLING_SCAN_IDLE_MAX_MS } from '../../../config/timings.ts';
import { idMilliseconds } from '../../../core/ids.ts';
import { FIRST_ID } from '../../../core/ids.ts';
import { positionOf } from '../../../core/priority.ts';
import type { MembersPlace } from '../cursors.ts';
import type { Pass } from '../lease.ts';
import { endLostClaims, enterRunning, isStale, note } from './claims.ts';
import type { ReconcileContext, ReconcileDuty } from './reconcile-context.ts';
import type { MemberPage, MemberSet } from './reconcile-queue.ts';
import type { DatedTask, RangePlace, RunningPlace } from './reconcile-store.ts';
import { enterMissing } from './watermark.ts';

const FIRST_WAITING: RangePlace = { runAt: '-infinity', id: FIRST_ID };
const FIRST_RUNNING: RunningPlace = { workerId: '', id: FIRST_ID };
const SETS: readonly MemberSet[] = ['ready', 'delayed', 'inflight'];

/** Least and most entries that one pass looks at. */
const SLICE_MIN = 200;
const SLICE_MAX = 10_000;

/** Slices are larger by this factor than a round needs, because entries are added meanwhile. */
const HASTE = 1.25;

/** Most sets that a pass opens, because even an empty set costs a call. */
const SETS_AT_MOST = 60;

/*
 * In each pass, the rolling scan compares a slice of the rows with Redis, and a slice of Redis with the rows. In one
 * round it looks at all of both. It finds errors that neither the watermark nor an epoch shows: partial losses,
 * drift, and leftovers. A rebuild does the same faster, so the scan rests during a rebuild.
 */

/** Compares the next slice of the waiting rows with Redis. */
export async function scanWaiting(context: ReconcileDuty, pass: Pass): Promise<void> {
  if (pass.cursors.rebuild !== undefined) return;
  const after = pass.cursors.scan?.waiting ?? FIRST_WAITING;
  const waiting = await scanWaitingSlice(context, pass, after, sliceOf(context, pass));
  pass.cursors.scan = { ...pass.cursors.scan, waiting };
}

/** Compares the next slice of the PROCESSING rows with Redis. */
export async function scanRunning(context: ReconcileDuty, pass: Pass): Promise<void> {
  if (pass.cursors.rebuild !== undefined) return;
  const after = pass.cursors.scan?.running ?? FIRST_RUNNING;
  const running = await scanRunningSlice(context, pass, after, sliceOf(context, pass));
  pass.cursors.scan = { ...pass.cursors.scan, running };
}

/** Compares the next slice of Redis' members with their rows. */
export async function scanMembers(context: ReconcileDuty, pass: Pass): Promise<void> {
  if (pass.cursors.rebuild !== undefined) return;
  const names = (context.findings.queues ?? []).map(({ name }) => name);
  const from = pass.cursors.scan?.members ?? null;
  const members = await scanMembersSlice(context, pass, names, from, sliceOf(context, pass));
  pass.cursors.scan = { ...pass.cursors.scan, members };
}

function sliceOf({ limits, findings }: ReconcileDuty, { grant }: Pass): number {
  const queues = findings.queues ?? [];
  const total = queues.reduce((sum, { waiting, inflight }) => sum + waiting + inflight, 0);
  const elapsedMs = Math.min(ROLLING_SCAN_IDLE_MAX_MS, grant.idleMs ?? ROLLING_SCAN_IDLE_MAX_MS);
  const needed = Math.ceil((total * elapsedMs * HASTE) / limits.scanRoundMs);
  return Math.min(SLICE_MAX, Math.max(SLICE_MIN, needed));
}

async function scanWaitingSlice(
  context: ReconcileContext,
  pass: Pass,
  after: RangePlace,
  slice: number,
): Promise<RangePlace> {
  await pass.keep();
  const rows = await context.store.waitingRange(after, 'infinity', slice);
  // A task that became runnable a moment ago may still be on its way to Redis.
  const isYoung = ({ waitMs, position }: DatedTask): boolean =>
    (waitMs <= 0 && waitMs > -context.limits.lagMs) ||
    idMilliseconds(position.id) > pass.grant.nowMs - context.limits.lagMs;
  await enterMissing(
    context,
    pass,
    rows.filter((row) => !isYoung(row)),
    'scan',
  );
  const last = rows.at(-1);
  return last === undefined || rows.length < slice ? FIRST_WAITING : { runAt: last.runAt, id: last.position.id };
}

async function scanRunningSlice(
  context: ReconcileContext,
  pass: Pass,
  after: RunningPlace,
  slice: number,
): Promise<RunningPlace> {
  await pass.keep();
  const rows = await context.store.processingOfQueues(null, after, slice);
  note(pass, 'scan', await enterRunning(context, rows));
  const last = rows.at(-1);
  return last === undefined || rows.length < slice ? FIRST_RUNNING : { workerId: last.workerId, id: last.position.id };
}

async function scanMembersSlice(
  context: ReconcileContext,
  pass: Pass,
  names: readonly string[],
  from: MembersPlace,
  slice: number,
): Promise<MembersPlace> {
  let place = from !== null && names.includes(from.queue) ? from : firstSet(names);
  let looked = 0;
  for (let opened = 0; place !== null && looked < slice && opened < SETS_AT_MOST; opened++) {
    await pass.keep();
    const page = await context.members.scanMembers(place.queue, place.set, place.cursor, slice - looked);
    await judgeMembers(context, pass, place.queue, page);
    looked += page.members.length;
    place = page.cursor === '0' ? nextSet(names, place) : { ...place, cursor: page.cursor };
  }
  return place;
}

function firstSet(names: readonly string[]): MembersPlace {
  const [queue] = names;
  return queue === undefined ? null : { queue, set: 'ready', cursor: '0' };
}

/** Returns the set after this one; null after the last one, when the round is over. */
function nextSet(names: readonly string[], { queue, set }: NonNullable<MembersPlace>): MembersPlace {
  const next = SETS[SETS.indexOf(set) + 1];
  if (next !== undefined) return { queue, set: next, cursor: '0' };
  return firstSet(names.slice(names.indexOf(queue) + 1));
}

/** Removes members whose tasks will not run, and ends lost claims. */
async function judgeMembers(context: ReconcileContext, pass: Pass, queue: string, page: MemberPage): Promise<void> {
  const { claimLostAfterMs } = context.limits;
  if (page.claims.length > 0) {
    // The task of a younger claim may be about to start.
    const nowMs = await context.members.nowMs();
    const old = page.claims.filter(({ value }) => nowMs - Number(value.split(' ').at(-1)) >= claimLostAfterMs);
    await endLostClaims(context, pass, queue, old);
    return;
  }
  if (page.members.length === 0) return;
  const positions = page.members.map((member) => positionOf(member));
  const states = await context.store.statusesOf(positions.flatMap((position) => position?.id ?? []));
  const stale = page.members.filter((member, i) => {
    const state = states.get(positions[i]?.id ?? '');
    return state === undefined || isStale(state, queue, member);
  });
  note(pass, 'stale', await context.members.removeWaiting(queue, stale));
}
