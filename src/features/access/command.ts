import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { Command, CommanderError } from 'commander';
import { parseDuration } from '../../config/duration.ts';
import type { Config } from '../../config/env.ts';
import { ConfigError, readConfig } from '../../config/read-config.ts';
import { commandActor, type Actor } from '../../core/access/audit.ts';
import { CLIENT_NAME_RULE, isClientName, LIMIT_MS_MAX } from '../../core/access/client.ts';
import { ROLE_NAMES, SCOPES } from '../../core/access/scopes.ts';
import { makeSecret } from '../../core/access/secret.ts';
import { messageOf } from '../../core/errors.ts';
import { createDatabaseClock } from '../../postgres/database-clock.ts';
import { createDatabase, type Database } from '../../postgres/database.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createClientChanges } from './client-changes.ts';
import { createClientStore, type ClientRecord, type ClientStore, type Expiry } from './client-store.ts';
import { clientView } from './client-view.ts';
import { completeTerms, readTerms, TERM_NAMES, type PartialTerms } from './terms.ts';

/** The exit codes of the command. */
const DONE = 0;
const REFUSED = 1;
const UNUSABLE = 2;

/** Ends the command with a message for the operator. */
class CommandError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode: number = REFUSED) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Where the command writes. A secret, and nothing else, goes to `out`. */
export interface CommandOutput {
  out(text: string): void;
  err(text: string): void;
}

const STANDARD: CommandOutput = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
};

type Options = Readonly<Record<string, string | boolean | undefined>>;

/**
 * Runs `scheduler clients`, which changes clients in PostgreSQL directly: it needs no key, so it also makes the first
 * one.
 * @returns the exit code: 0 done; 1 refused, or PostgreSQL does not answer; 2 options or settings cannot be used
 */
export async function clientsCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  output: CommandOutput = STANDARD,
): Promise<number> {
  try {
    await program(env, output).parseAsync([...args], { from: 'user' });
    return DONE;
  } catch (error) {
    // Commander has written what is wrong with the options, or the help.
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : UNUSABLE;
    output.err(`${messageOf(error)}\n`);
    if (error instanceof ConfigError) return UNUSABLE;
    return error instanceof CommandError ? error.exitCode : REFUSED;
  }
}

function program(env: NodeJS.ProcessEnv, output: CommandOutput): Command {
  const clients = new Command('scheduler clients')
    .description('Clients of the API and their secrets; see docs/access.md.')
    .exitOverride()
    .configureOutput({ writeOut: output.out, writeErr: output.err });
  const withDatabase = <Result>(body: (database: Database) => Promise<Result>): Promise<Result> =>
    usingDatabase(readConfig(env), body);

  withTerms(clients.command('create <name>'))
    .description('create a client, and print its secret on standard output; nothing shows the secret again')
    .option('--json', 'print the client and its secret as JSON')
    .action((name: string, options: Options) => withDatabase((database) => create(database, name, options, output)));
  withTerms(clients.command('change <name>'))
    .description('change what a client may do; what is not given stays as it is')
    .action((name: string, options: Options) => withDatabase((database) => change(database, name, options, output)));
  clients
    .command('list')
    .description('list all clients')
    .option('--revoked', 'list revoked clients too')
    .option('--json', 'print JSON')
    .action((options: Options) => withDatabase((database) => list(database, options, output)));
  clients
    .command('show <name>')
    .description('show a client and its secrets')
    .option('--json', 'print JSON')
    .action((name: string, options: Options) => withDatabase((database) => show(database, name, options, output)));
  clients
    .command('rotate <name>')
    .description('give a client a new secret, and print it on standard output; nothing shows it again')
    .option('--overlap <duration>', 'how long the older secret stays valid; 0s ends it at once', '24h')
    .option('--json', 'print the client and its secret as JSON')
    .action((name: string, options: Options) => withDatabase((database) => rotate(database, name, options, output)));
  clients
    .command('revoke <name>')
    .description('revoke a client for good, or one of its secrets')
    .option('--secret <id>', 'public id of the only secret to revoke')
    .action((name: string, options: Options) => withDatabase((database) => revoke(database, name, options, output)));
  return clients;
}

function withTerms(command: Command): Command {
  return command
    .option('--role <role>', `a set of scopes: ${ROLE_NAMES.join(', ')}`)
    .option('--scopes <list>', `scopes instead of a role: ${SCOPES.join(', ')}`)
    .option('--queues <list>', 'queues that it may use, such as orders,mail.* (of a new client: all)')
    .option('--actions <list>', 'actions of its tasks (of a new client: all but http.request and kubernetes.job)')
    .option('--rate <number>', 'tasks per minute, or none')
    .option('--burst <number>', 'tasks at once, or none')
    .option('--unfinished-max <number>', 'most unfinished tasks, or none')
    .option('--delay-max <duration>', 'longest delay of a task, or none')
    .option('--timeout-max <duration>', 'longest time limit of an attempt, or none')
    .option('--expires-in <duration>', 'when the client ends, or none')
    .option('--note <text>', 'a text for people');
}

async function usingDatabase<Result>(config: Config, body: (database: Database) => Promise<Result>): Promise<Result> {
  // Standard output is for the result, and errors are told once, by the caller.
  const log = createLogger('silent', {});
  const database = createDatabase(
    config,
    createOutage('postgresql', log, createMetrics(), () => performance.now()),
    log,
  );
  try {
    return await body(database);
  } finally {
    await database.close();
  }
}

/** Who runs the command, for the audit log. In a container, the user may have a number and no name. */
function operator(): Actor {
  const { uid, username } = nameOfUser();
  return commandActor(username || String(uid), hostname());
}

function nameOfUser(): { readonly uid: number; readonly username: string } {
  try {
    return userInfo();
  } catch {
    return { uid: process.getuid?.() ?? -1, username: '' };
  }
}

async function create(database: Database, name: string, options: Options, output: CommandOutput): Promise<void> {
  if (!isClientName(name)) throw new CommandError(`name: expected ${CLIENT_NAME_RULE}`, UNUSABLE);
  const { expiresAt = null, ...terms } = await termsIn(database, options);
  const { scopes } = terms;
  if (scopes === undefined) throw new CommandError('--role: a client needs a role or --scopes', UNUSABLE);
  const secret = makeSecret(randomBytes);
  const whole = { ...completeTerms(terms, scopes), expiresAt };
  const created = await createClientChanges(database).create(operator(), name, whole, secret);
  if (!created) throw new CommandError(`the name ${name} is or was the name of another client`);
  await printSecret(database, name, secret.text, options, output);
}

async function change(database: Database, name: string, options: Options, output: CommandOutput): Promise<void> {
  const terms = await termsIn(database, options);
  if (!(await createClientChanges(database).change(operator(), name, terms))) throw unchangeableClient(name);
  output.err(`client ${name} changed\n`);
}

async function rotate(database: Database, name: string, options: Options, output: CommandOutput): Promise<void> {
  const overlapMs = parseDuration(String(options['overlap']));
  if (overlapMs === null || overlapMs > LIMIT_MS_MAX)
    throw new CommandError('--overlap: expected a duration such as 0s, 30m or 24h', UNUSABLE);
  const secret = makeSecret(randomBytes);
  const refused = await createClientChanges(database).rotate(operator(), name, secret, overlapMs);
  if (refused === 'unknown') throw unchangeableClient(name);
  if (refused === 'full') {
    throw new CommandError(
      'two secrets of the client are valid already: revoke one of them (`clients show` lists them), or end both with --overlap 0s',
    );
  }
  await printSecret(database, name, secret.text, options, output);
}

async function revoke(database: Database, name: string, options: Options, output: CommandOutput): Promise<void> {
  const { secret } = options;
  if (typeof secret === 'string') {
    if (!(await createClientChanges(database).revokeSecret(operator(), name, secret)))
      throw new CommandError(`the client ${name} has no secret with this public id`);
    output.err(`secret ${secret} of client ${name} revoked\n`);
    return;
  }
  if (!(await createClientChanges(database).revoke(operator(), name))) throw unknownClient(name);
  output.err(`client ${name} revoked; its name is not used again\n`);
}

const PAGE = 200;

async function list(database: Database, options: Options, { out }: CommandOutput): Promise<void> {
  const store = createClientStore(database.run);
  const records: ClientRecord[] = [];
  for (let page: ClientRecord[] = []; records.length === 0 || page.length === PAGE;) {
    page = await store.list(records.at(-1)?.name ?? '', PAGE, options['revoked'] === true);
    if (page.length === 0) break;
    records.push(...page);
  }
  const views = records.map(clientView);
  if (options['json'] === true) return out(`${JSON.stringify({ items: views }, null, 2)}\n`);
  const rows = views.map((view) => [
    view.name,
    view.role ?? view.scopes.join(','),
    view.queues.join(','),
    String(view.secrets.length),
    view.last_used_at ?? 'never',
    view.revoked_at === null ? (view.expires_at ?? 'never') : `revoked ${view.revoked_at}`,
  ]);
  out(table([['NAME', 'ROLE', 'QUEUES', 'SECRETS', 'LAST USED', 'ENDS'], ...rows]));
}

async function show(database: Database, name: string, options: Options, { out }: CommandOutput): Promise<void> {
  const view = clientView(await recordOf(createClientStore(database.run), name));
  if (options['json'] === true) return out(`${JSON.stringify(view, null, 2)}\n`);
  const { secrets, limits, ...fields } = view;
  const lines = [
    ...Object.entries({ ...fields, ...limits }).map(([field, value]) => [field, valueText(value)]),
    ...secrets.map((secret) => [
      `secret ${secret.id}`,
      `created ${secret.created_at}, last used ${secret.last_used_at ?? 'never'}, ends ${secret.expires_at ?? 'never'}`,
    ]),
  ];
  out(table(lines));
}

/** Prints a new secret: alone on standard output, so that it can be piped into a file or another command. */
async function printSecret(
  database: Database,
  name: string,
  secret: string,
  options: Options,
  { out, err }: CommandOutput,
): Promise<void> {
  if (options['json'] === true) {
    const view = clientView(await recordOf(createClientStore(database.run), name));
    return out(`${JSON.stringify({ ...view, secret }, null, 2)}\n`);
  }
  out(`${secret}\n`);
  err(`this is the secret of client ${name}; nothing shows it again\n`);
}

/** Reads the options that say what a client may do. */
async function termsIn(database: Database, options: Options): Promise<PartialTerms & Partial<Expiry>> {
  const texts = TERM_NAMES.map((name) => [name, options[camelCase(name)] as string | undefined] as const);
  const read = readTerms(Object.fromEntries(texts));
  if ('problems' in read)
    throw new CommandError(read.problems.map(({ term, rule }) => `--${term}: ${rule}`).join('\n'), UNUSABLE);
  const { terms } = read;
  const { expiresIn } = options;
  if (expiresIn === undefined) return terms;
  if (expiresIn === 'none') return { ...terms, expiresAt: null };
  const ms = parseDuration(String(expiresIn));
  if (ms === null || ms > LIMIT_MS_MAX)
    throw new CommandError('--expires-in: expected a duration such as 12h or 90d, or none', UNUSABLE);
  // The clock of PostgreSQL decides when the client ends.
  const clock = createDatabaseClock(database);
  await clock.runOnce();
  return { ...terms, expiresAt: new Date(clock.nowMs() + ms).toISOString() };
}

async function recordOf(store: Pick<ClientStore, 'show'>, name: string): Promise<ClientRecord> {
  const record = await store.show(name);
  if (record === null) throw unknownClient(name);
  return record;
}

function unknownClient(name: string): CommandError {
  return new CommandError(`there is no client ${name}`);
}

function unchangeableClient(name: string): CommandError {
  return new CommandError(`there is no client ${name}, or it has been revoked`);
}

function camelCase(name: string): string {
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function valueText(value: string | number | readonly string[] | null): string {
  if (value === null) return 'none';
  return typeof value === 'object' ? value.join(', ') : String(value);
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}
