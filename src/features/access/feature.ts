import type { Config } from '../../config/env.ts';
import type { Database } from '../../postgres/database.ts';
import type { SearchLimits } from '../../postgres/reads/search.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { createAuditReads } from './audit-reads.ts';
import { auditRoutes } from './audit-routes.ts';
import { readClientFiles } from './client-files.ts';
import { createDirectoryStore } from './directory-store.ts';
import { createDirectory, type RunningDirectory } from './directory.ts';
import { clientRoutes } from './routes.ts';

export { createRefusalLog } from './refusal-log.ts';
export type { RunningDirectory };

type Parts = Pick<FeatureParts, 'cursors' | 'database' | 'reader'>;

/** Manages clients, and shows what was done and what was refused. */
export function access(
  { cursors, database, reader }: Parts,
  directory: RunningDirectory,
  search?: SearchLimits,
): Feature {
  return {
    routes: [
      ...clientRoutes({ database, directory, cursors }),
      ...auditRoutes({ reads: createAuditReads(reader, search), cursors }),
    ],
  };
}

/** Makes the directory of all clients. It is started only if clients need keys. */
export function clientDirectory(
  database: Pick<Database, 'run'>,
  config: Pick<Config, 'CLIENTS_DIR'>,
  log: Logger,
): RunningDirectory {
  const path = config.CLIENTS_DIR;
  return createDirectory({
    store: createDirectoryStore(database),
    readFiles: path === '' ? null : () => readClientFiles(path),
    log,
  });
}
