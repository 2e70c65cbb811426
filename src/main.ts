import { constants } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import type { Config } from './config/env.ts';
import { ConfigError, readConfig } from './config/read-config.ts';
import { EXIT_LINGER_MS } from './config/timings.ts';
import { runServices } from './lifecycle/shutdown.ts';
import { gatherByTurn } from './telemetry/gathered-output.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { createStandardOutput } from './telemetry/standard-output.ts';

const program = new Command('scheduler')
  .description('Distributed Task Scheduler. All settings are environment variables; see docs/configuration.md.')
  .showHelpAfterError();

program
  .command('api')
  .description('serve the HTTP API, and stand in for the reclaimer if no worker does')
  .action(() => runCommand('api', api));

program
  .command('worker')
  .description('claim and execute tasks, and stand in for the reclaimer')
  .action(() => runCommand('worker', worker));

program
  .command('reclaimer')
  .description('sweep for the time of RECLAIMER_WINDOW, then exit')
  .option('--loop', 'sweep until stopped', false)
  .action(({ loop }: { loop: boolean }) => runCommand('reclaimer', (config, log) => reclaimer(config, log, loop)));

program
  .command('migrate')
  .description('bring the database schema up to date')
  .option('--app-role <name>', 'grant this role the rights that API, workers and reclaimer need, if they use it')
  .action(({ appRole }: { appRole?: string }) =>
    runCommand('migrate', (config, log) => migrateDatabase(config, log, appRole)),
  );

program
  .command('up')
  .description('migrate, then run API, workers and reclaimer as children of this process')
  .option('--workers <n>', 'number of worker processes', positiveInteger, 2)
  .action(({ workers }: { workers: number }) => runCommand('up', (config, log) => up(config, log, workers)));

program
  .enablePositionalOptions()
  .command('clients')
  .description('create, list, show, change, rotate and revoke the clients of the API; `clients --help` explains it')
  .helpOption(false)
  .passThroughOptions()
  .allowUnknownOption()
  .argument('[arguments...]')
  .action(async (args: string[]) => {
    const { clientsCommand } = await import('./features/access/command.ts');
    process.exitCode = await clientsCommand(args, process.env);
  });

process.on('SIGTERM', endUnlessAwaited).on('SIGINT', endUnlessAwaited);
await program.parseAsync();

/**
 * Ends a process that gets a signal before `runServices` listens for it. Without this,
 * process 1 of a container would ignore the signal, because it has no default action there.
 */
function endUnlessAwaited(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) === 1) process.exit(128 + constants.signals[signal]);
}

/** Runs a command with the whole configuration, or prints what is wrong with it. The command returns the exit code. */
async function runCommand(name: string, command: (config: Config, log: Logger) => Promise<number>): Promise<void> {
  try {
    const config = readConfig(process.env);
    // The API logs a line for every request, and nothing in it blocks the event loop for long.
    const output = name === 'api' ? gatherByTurn(createStandardOutput()) : createStandardOutput();
    process.exitCode = await command(config, createLogger(config.LOG_LEVEL, { process: name }, output));
  } catch (error) {
    if (error instanceof ConfigError) {
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 2;
      return;
    }
    createLogger('info', { process: name }).fatal({ err: error }, 'could not start');
    process.exitCode = 1;
    // Modules that were loaded by then, above all a handlers module, may hold resources that keep the process alive.
    setTimeout(() => process.exit(), EXIT_LINGER_MS).unref();
  }
}

// Each command loads only what it needs, because a reclaimer starts every minute and must start fast.

async function api(config: Config, log: Logger): Promise<number> {
  const { createApiProcess } = await import('./api/api-process.ts');
  const { createStandIn } = await import('./reclaimer/stand-in.ts');
  const parts = await createApiProcess(config, log);
  // Insert the stand-in before the server, so that the server is stopped first.
  const services = parts.services.toSpliced(-1, 0, createStandIn(config, { ...parts, role: 'api' }));
  return runServices(services, log, parts.finished);
}

async function worker(config: Config, log: Logger): Promise<number> {
  const { createWorkerProcess } = await import('./worker/worker.ts');
  const { createStandIn } = await import('./reclaimer/stand-in.ts');
  const parts = await createWorkerProcess(config, log);
  const standIn = createStandIn(config, { ...parts, role: 'worker', holder: parts.workerId });
  return runServices([...parts.services, standIn], log, parts.finished);
}

async function reclaimer(config: Config, log: Logger, loop: boolean): Promise<number> {
  const { createReclaimerProcess } = await import('./reclaimer/reclaimer-process.ts');
  const { services, finished } = await createReclaimerProcess(config, log, { loop });
  return runServices(services, log, finished);
}

async function migrateDatabase(config: Config, log: Logger, appRole?: string): Promise<number> {
  const { migrate } = await import('./postgres/schema/migrate.ts');
  const done = await migrate(config, log, appRole === undefined ? {} : { appRole });
  log.info({ migrations: done }, done.length > 0 ? 'schema migrated' : 'schema is up to date');
  return 0;
}

async function up(config: Config, log: Logger, workers: number): Promise<number> {
  const { createSupervisor } = await import('./up/supervisor.ts');
  await migrateDatabase(config, log);
  return runServices([createSupervisor({ workers, log })], log);
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1');
  return value;
}
