import { objectName, type Actor } from '../../core/access/audit.ts';
import type { NewSecret } from '../../core/access/secret.ts';
import { writeAudit, type AuditEntry } from '../../postgres/audit/write-audit.ts';
import type { Database } from '../../postgres/database.ts';
import { createClientStore, type ClientStore, type Expiry } from './client-store.ts';
import type { ClientTerms, PartialTerms } from './terms.ts';

/**
 * Changes clients, each in one transaction with the row of the audit log that says who did it. What changes nothing
 * leaves no row. Throws the errors of `Database`.
 */
export interface ClientChanges {
  /** Returns false if the name is taken. */
  create(by: Actor, name: string, terms: ClientTerms & Expiry, secret: NewSecret): Promise<boolean>;
  /** Returns false for an unknown or revoked client. */
  change(by: Actor, name: string, terms: PartialTerms & Partial<Expiry>): Promise<boolean>;
  /** Returns why no secret was added; null if one was. */
  rotate(by: Actor, name: string, secret: NewSecret, overlapMs: number): Promise<'unknown' | 'full' | null>;
  /** Returns false if the client has no such secret. */
  revokeSecret(by: Actor, name: string, secretId: string): Promise<boolean>;
  /** Returns false for an unknown client. */
  revoke(by: Actor, name: string): Promise<boolean>;
}

export function createClientChanges(database: Pick<Database, 'transaction'>): ClientChanges {
  const audited = <Result>(
    by: Actor,
    entry: AuditEntry,
    work: (store: ClientStore) => Promise<Result>,
    isDone: (result: Result) => boolean,
  ): Promise<Result> =>
    database.transaction(async (run) => {
      const result = await work(createClientStore(run));
      if (isDone(result)) await writeAudit(run, by, entry);
      return result;
    });
  const isTrue = (result: boolean): boolean => result;

  return {
    create(by, name, terms, secret) {
      const objects = [objectName('client', name), objectName('secret', secret.id)];
      const entry = { action: 'client.create', objects, details: terms } as const;
      return audited(by, entry, (store) => store.create(name, terms, secret), isTrue);
    },
    change(by, name, terms) {
      const entry = { action: 'client.change', objects: [objectName('client', name)], details: terms } as const;
      return audited(by, entry, (store) => store.change(name, terms), isTrue);
    },
    rotate(by, name, secret, overlapMs) {
      const objects = [objectName('client', name), objectName('secret', secret.id)];
      const entry = { action: 'client.rotate', objects, details: { overlapMs } } as const;
      return audited(
        by,
        entry,
        (store) => store.rotate(name, secret, overlapMs),
        (refused) => refused === null,
      );
    },
    revokeSecret(by, name, secretId) {
      const objects = [objectName('client', name), objectName('secret', secretId)];
      return audited(by, { action: 'client.revoke', objects }, (store) => store.revokeSecret(name, secretId), isTrue);
    },
    revoke(by, name) {
      const entry = { action: 'client.revoke', objects: [objectName('client', name)] } as const;
      return audited(by, entry, (store) => store.revoke(name), isTrue);
    },
  };
}
