import { timingSafeEqual } from 'node:crypto';
import {
  CLIENTS_FILES_WAIT_MS,
  CLIENTS_FIRST_POLL_MS,
  CLIENTS_FIRST_READ_MS,
  CLIENTS_KEPT_MS,
  CLIENTS_LOOK_AGAIN_MS,
  CLIENTS_LOOK_AGAIN_WAIT_MS,
  CLIENTS_POLL_MS,
  CLIENTS_RELOAD_MS,
  CLIENTS_USES_MS,
} from '../../../config/access-timings.ts';
import type { Client } from '../../../core/access/client.ts';
import { hashOfSecret, secretIdOf } from '../../../core/access/secret.ts';
import { systemClock, type Clock } from '../../../core/clock.ts';
import { messageOf, SchedulerError, StoreUnavailableError } from '../../../core/errors.ts';
import type { ClientDirectory, Identified } from '../../../http/access/client-directory.ts';
import { createChanges } from '../../../lifecycle/changes.ts';
import { createLoop, pause, untilEnded } from '../../../lifecycle/loop.ts';
import type { Service } from '../../../lifecycle/service.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { FileClient, FoundClients } from './client-files.ts';
import type { DirectoryStore, StoredSecret } from './directory-store.ts';
import { createFiledClients } from './filed-clients.ts';
import { createNews } from './news.ts';
import { createSecretUses } from './secret-uses.ts';

/** The clients in the memory of an API process. While it runs, it follows all changes within two seconds. */
export interface RunningDirectory extends ClientDirectory, Service {
  /** The clients of `CLIENTS_DIR`, by name. Empty while the directory does not run. */
  files(): ReadonlyMap<string, FileClient>;
  /** Returns whether `CLIENTS_DIR` has a client of this name, even if it cannot be used at the moment. */
  isFiled(name: string): boolean;
  /** Looks at files and versions once, and writes the last uses if it is time. Never throws. */
  runOnce(): Promise<void>;
  /** Follows a change that this process has just made. Never throws. */
  refresh(): Promise<void>;
}

export interface DirectoryOptions {
  readonly store: DirectoryStore;
  /** Reads the clients of `CLIENTS_DIR`; null if it is not set. Throws if the directory cannot be read. */
  readonly readFiles: (() => Promise<FoundClients>) | null;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** A secret as a request finds it. Times are of the monotonic clock; infinity if it never ends. */
interface Entry {
  readonly client: Client;
  readonly known: Identified;
  readonly id: string;
  readonly hash: Buffer;
  readonly secretEndsMs: number;
  readonly clientEndsMs: number;
}

interface Stored {
  readonly version: number;
  readonly readMs: number;
  readonly secrets: ReadonlyMap<string, Entry>;
  readonly names: ReadonlySet<string>;
}

/** Number of checked secrets that are remembered. */
const CHECKED_MAX = 10_000;

const UNKNOWN: Identified = { kind: 'unknown' };

/**
 * Makes the directory. A request costs a lookup, and no statement. Secrets that have been checked are remembered until
 * anything changes, because hashing and comparing them again would cost a request more than everything else here. If a
 * name is both in files and in PostgreSQL, the files count: whoever runs the service must not be locked out by a client
 * that somebody has made.
 */
export function createDirectory({ store, readFiles, log, clock = systemClock }: DirectoryOptions): RunningDirectory {
  let stored: Stored | null = null;
  /** When PostgreSQL last confirmed the clients, and when it was last asked because of an unknown secret. */
  let confirmedMs = Number.NEGATIVE_INFINITY;
  let lookedAgainMs = Number.NEGATIVE_INFINITY;
  /** Secrets that were checked since the last change, by their texts. */
  const checked = new Map<string, Entry>();
  let running = false;
  const stopping = new AbortController();
  let following: Promise<void> | undefined;
  let nextLook: Promise<void> | undefined;
  const firstReading = createChanges();
  const uses = createSecretUses(store, clock);
  const filed = createFiledClients({ readFiles, onOtherNames: () => checked.clear(), log });
  const twice = createNews((name) =>
    log.warn({ client: name }, 'the client is both in CLIENTS_DIR and in PostgreSQL: the files count'),
  );

  /** Reads all clients if they have changed. */
  const follow = async (): Promise<void> => {
    const atMs = clock.monotonicMs();
    if (stored === null || stored.version !== (await store.version()) || atMs - stored.readMs > CLIENTS_RELOAD_MS) {
      const { version, secrets } = await store.read();
      const readMs = clock.monotonicMs();
      if (version !== stored?.version) log.debug({ version, secrets: secrets.length }, 'clients read');
      stored = {
        version,
        readMs,
        secrets: new Map(secrets.map((secret) => [secret.id, entryOf(secret, readMs)])),
        names: new Set(secrets.map(({ client }) => client.name)),
      };
      checked.clear();
    }
    confirmedMs = atMs;
    firstReading.tell();
    twice.tell([...filed.names()].filter((name) => stored?.names.has(name) === true));
  };
  const followOnce = (): Promise<void> => (following ??= follow().finally(() => (following = undefined)));
  /** What is under way may have begun before a change. */
  const followAfresh = async (): Promise<void> => {
    await following?.catch(() => {});
    await followOnce();
  };

  const isConfirmed = (nowMs: number): boolean => stored !== null && nowMs - confirmedMs <= CLIENTS_KEPT_MS;

  /** Judges a secret whose hash was right. */
  const judge = ({ id, known, secretEndsMs, clientEndsMs }: Entry, nowMs: number): Identified => {
    if (clientEndsMs <= nowMs) return { kind: 'expired', of: 'client' };
    if (secretEndsMs <= nowMs) return { kind: 'expired', of: 'secret' };
    uses.note(id, nowMs);
    return known;
  };

  /** @param secret its text; null if only its hash is known */
  const look = (secret: string | null, id: string, hash: string, nowMs: number): Identified => {
    const entry = stored?.secrets.get(id);
    if (entry === undefined || filed.names().has(entry.client.name)) return UNKNOWN;
    if (!timingSafeEqual(Buffer.from(hash, 'hex'), entry.hash)) return UNKNOWN;
    if (secret !== null) {
      if (checked.size >= CHECKED_MAX) checked.clear();
      checked.set(secret, entry);
    }
    return judge(entry, nowMs);
  };

  /** Plans a look that begins later than now, so that it sees whatever was made before now. */
  const planLook = async (): Promise<void> => {
    const waitMs = Math.max(0, lookedAgainMs + CLIENTS_LOOK_AGAIN_MS - clock.monotonicMs());
    await pause(waitMs, stopping.signal);
    nextLook = undefined;
    // A statement after the stop would open another pool.
    if (stopping.signal.aborted) return;
    lookedAgainMs = clock.monotonicMs();
    await followAfresh().catch(() => {});
  };

  /** The secret may have been made since the last look: another process made it, or this one has just started. */
  const lookAgain = async (secret: string | null, id: string, hash: string): Promise<Identified> => {
    if (stored === null) await firstReading.until(() => stored !== null, CLIENTS_FIRST_READ_MS);
    else await untilEnded((nextLook ??= planLook()), CLIENTS_LOOK_AGAIN_WAIT_MS);
    const nowMs = clock.monotonicMs();
    if (!isConfirmed(nowMs)) throw unconfirmed();
    return look(secret, id, hash, nowMs);
  };

  const findFiled = (hash: string): Identified | undefined => {
    const client = filed.clientOf(hash);
    return client && { kind: 'known', client, secretId: null };
  };
  const findStored = (secret: string | null, id: string | null, hash: string): Identified | Promise<Identified> => {
    const nowMs = clock.monotonicMs();
    if (id === null) return UNKNOWN;
    if (!isConfirmed(nowMs)) return lookAgain(secret, id, hash);
    const found = look(secret, id, hash, nowMs);
    return found.kind === 'unknown' ? lookAgain(secret, id, hash) : found;
  };

  const failures = createNews((message) => log.warn({ err: new Error(message) }, 'clients could not be followed'));
  const runOnce = async (): Promise<void> => {
    const results = await Promise.allSettled([
      // A disk that hangs must not keep revocations from being followed.
      untilEnded(filed.follow(), CLIENTS_FILES_WAIT_MS),
      followOnce(),
      uses.write(CLIENTS_USES_MS),
    ]);
    const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    // Outages of PostgreSQL are logged where they are noticed.
    failures.tell(errors.filter((error) => !(error instanceof StoreUnavailableError)).map(String));
  };
  const loop = createLoop({
    name: 'client-directory',
    intervalMs: () => (stored === null ? CLIENTS_FIRST_POLL_MS : CLIENTS_POLL_MS),
    jitter: 0.1,
    runOnce,
    onError: () => {},
  });

  return {
    name: 'client-directory',
    runOnce,
    async start() {
      if (running) return;
      running = true;
      // Without the first clients nobody could use the API, so a directory that cannot be read is an error.
      await filed.follow().catch((error: unknown) => {
        throw new SchedulerError('unreadable_clients', `CLIENTS_DIR cannot be read: ${messageOf(error)}`, {
          cause: error,
        });
      });
      if (readFiles !== null) log.info({ clients: [...filed.byName().keys()] }, 'clients read from CLIENTS_DIR');
      await loop.start();
    },
    async stop() {
      stopping.abort();
      await loop.stop();
      await untilEnded(uses.write(0).catch(() => {}));
    },
    identify(secret) {
      const nowMs = clock.monotonicMs();
      const entry = checked.get(secret);
      if (entry !== undefined && isConfirmed(nowMs)) return judge(entry, nowMs);
      const hash = hashOfSecret(secret);
      return findFiled(hash) ?? findStored(secret, secretIdOf(secret), hash);
    },
    identifyHash: (id, hash) => findFiled(hash) ?? findStored(null, id, hash),
    isEmpty: () => stored?.names.size === 0 && filed.names().size === 0,
    files: filed.byName,
    isFiled: (name) => filed.names().has(name),
    async refresh() {
      if (!running) return;
      await untilEnded(
        followAfresh().catch(() => {}),
        CLIENTS_LOOK_AGAIN_WAIT_MS,
      );
    },
  };
}

function entryOf({ client, id, hash, secretEndsMs, clientEndsMs }: StoredSecret, readMs: number): Entry {
  const at = (ms: number | null): number => (ms === null ? Number.POSITIVE_INFINITY : readMs + ms);
  return {
    client,
    known: { kind: 'known', client, secretId: id },
    id,
    hash,
    secretEndsMs: at(secretEndsMs),
    clientEndsMs: at(clientEndsMs),
  };
}

function unconfirmed(): StoreUnavailableError {
  return new StoreUnavailableError('postgresql', new Error('the clients could not be read for too long'));
}
