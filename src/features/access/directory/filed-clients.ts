import type { Client } from '../../../core/access/client.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { FileClient, FoundClients } from './client-files.ts';
import { createNews } from './news.ts';

/** The clients of `CLIENTS_DIR`, as they were when its files were last read. */
export interface FiledClients {
  /** Reads the files. A call during another one waits for that one. Throws if the directory cannot be read. */
  follow(): Promise<void>;
  byName(): ReadonlyMap<string, FileClient>;
  /** The names of all directories. A client that cannot be used must not let another one of its name in. */
  names(): ReadonlySet<string>;
  /** @param hash SHA-256 of a secret, in hexadecimal digits */
  clientOf(hash: string): Client | undefined;
}

export interface FiledClientsOptions {
  /** Null if `CLIENTS_DIR` is not set: there are no such clients. */
  readonly readFiles: (() => Promise<FoundClients>) | null;
  /** Called when names were added or removed. */
  readonly onOtherNames: () => void;
  readonly log: Logger;
}

export function createFiledClients({ readFiles, onOtherNames, log }: FiledClientsOptions): FiledClients {
  let found: FoundClients = { clients: [], names: new Set(), problems: [] };
  let byName: ReadonlyMap<string, FileClient> = new Map();
  let byHash: ReadonlyMap<string, Client> = new Map();
  let reading: Promise<void> | undefined;
  const badFiles = createNews((problem) => log.warn({ problem }, 'a client of CLIENTS_DIR cannot be used'));

  const read = async (): Promise<void> => {
    if (readFiles === null) return;
    const { names } = found;
    found = await readFiles();
    badFiles.tell(found.problems.map(({ file, rule }) => `${file}: ${rule}`));
    if (names.symmetricDifference(found.names).size > 0) onOtherNames();
    byName = new Map(found.clients.map((one) => [one.client.name, one]));
    byHash = new Map(found.clients.flatMap(({ client, hashes }) => hashes.map((hash) => [hash, client] as const)));
  };

  return {
    follow: () => (reading ??= read().finally(() => (reading = undefined))),
    byName: () => byName,
    names: () => found.names,
    clientOf: (hash) => byHash.get(hash),
  };
}
