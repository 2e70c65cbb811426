import { readConfig } from '../src/config/read-config.ts';
import { runServices } from '../src/lifecycle/shutdown.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createWorkerProcess } from '../src/worker/worker.ts';

/** A worker process whose watchdog acts after a fraction of a second instead of half a minute. */
const config = readConfig(process.env);
const log = createLogger(config.LOG_LEVEL, { process: 'worker' });
const worker = await createWorkerProcess(config, log, { watchdog: { overrunMs: 300, stalledMs: 400 } });
process.exitCode = await runServices(worker.services, log, worker.finished);
