import type { Config } from '../../config/env.ts';
import type { Database } from '../../postgres/database.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { readClientFiles } from './directory/client-files.ts';
import { createDirectoryStore } from './directory/directory-store.ts';
import { createDirectory, type RunningDirectory } from './directory/directory.ts';
import { clientRoutes } from './routes.ts';

export type { RunningDirectory };

/** Manages clients. */
export function access(
  { cursors, database }: Pick<FeatureParts, 'cursors' | 'database'>,
  directory: RunningDirectory,
): Feature {
  return { routes: clientRoutes({ database, directory, cursors }) };
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
