import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SHORT_SETTINGS } from '../test/chaos/settings.ts';
import { startSystem } from '../test/chaos/system.ts';

/**
 * Sends valid and invalid requests, generated from the OpenAPI document, to a running system. The requests have the key
 * of an admin, and some are sent again without it, which the API has to refuse. No answer may have a status of 500 or
 * above, or violate the document. The last line is "N passed, N failed"; the run of schemathesis counts as one test.
 */
const VERSION = '4.32.*';
const CHECKS = 'all';
/** Rules that the OpenAPI document cannot express. */
const HOOKS = resolve('test/fuzz/hooks.py');

const environment = resolve('.local/fuzz');
const directory = resolve('.local/test-fuzz');
const examples = process.argv[2] ?? '40';

install();
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory, { recursive: true });
const settings = { ...SHORT_SETTINGS, apis: 1, workers: 1, reclaimers: 1 };
const key = randomBytes(32).toString('hex');
const system = await startSystem({ settings, directory, env: { RATE_LIMIT_PER_MINUTE: '0', ...knownClient(key) } });
let code: number;
try {
  code = await fuzz(system.apiUrls[0] as string);
} finally {
  await system.stopProcesses();
  await system.remove();
}
// Errors in the logs of the processes also count as a failure, even if no client noticed them.
const errors = system.processes
  .flatMap((member) => member.records())
  .flatMap(({ log }) => log.filter(({ level }) => level === 'error' || level === 'fatal'));
for (const { msg, fields } of errors.slice(0, 10))
  console.log(`logged: ${msg} ${JSON.stringify(fields['err'] ?? null).slice(0, 500)}`);
const failed = (code === 0 ? 0 : 1) + (errors.length === 0 ? 0 : 1);
console.log(`${2 - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/** Returns settings of an API that asks for keys, and has one client in files. */
function knownClient(secret: string): Record<string, string> {
  const clients = join(directory, 'clients');
  const files = { secret, role: 'admin', actions: '*,http.request,kubernetes.job', queues: '*' };
  mkdirSync(join(clients, 'fuzz'), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(clients, 'fuzz', name), text);
  return { AUTH: 'keys', CLIENTS_DIR: clients };
}

function install(): void {
  if (existsSync(join(environment, 'bin/schemathesis'))) return;
  console.log('installing schemathesis');
  run('python3', ['-m', 'venv', environment]);
  run(join(environment, 'bin/pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${VERSION}`]);
}

function run(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${stderr}`);
}

async function fuzz(baseUrl: string): Promise<number> {
  const document = join(directory, 'openapi.json');
  const text = await (await fetch(`${baseUrl}/openapi.json`)).text();
  writeFileSync(document, text);
  const options = [
    '--checks',
    CHECKS,
    '--max-examples',
    examples,
    '--seed',
    '1',
    '--request-timeout',
    '20',
    '--no-color',
    '--header',
    `Authorization: Bearer ${key}`,
  ];
  const args = ['run', document, '--url', baseUrl, ...options];
  const child = spawn(join(environment, 'bin/schemathesis'), args, {
    cwd: directory,
    stdio: 'inherit',
    env: { ...process.env, SCHEMATHESIS_HOOKS: HOOKS },
  });
  return new Promise((done) => {
    child.on('exit', (status) => done(status ?? 1));
  });
}
