import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The account of the servers if the caller is root, because PostgreSQL refuses to run as root. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const CANDIDATES = ['postgres', 'nobody'];

/** Returns the account for servers, or null if the caller is not root and servers use the caller's account. */
export function unprivilegedAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  for (const candidate of CANDIDATES) {
    const fields = lines.find((line) => line.startsWith(`${candidate}:`))?.split(':');
    if (fields?.[2] === undefined || fields[3] === undefined) continue;
    return { name: candidate, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error(`PostgreSQL does not run as root, and none of the accounts ${CANDIDATES.join(', ')} exists`);
}

let setprivWorks: boolean | undefined;

/**
 * Returns a command that gets `signal` when the process that starts it dies, for whatever reason. This works only on
 * Linux; on other systems, the command is unchanged.
 */
export function boundToParent(command: readonly string[], signal: 'INT' | 'TERM' | 'KILL'): string[] {
  setprivWorks ??= process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'keep', 'true']).status === 0;
  return setprivWorks ? ['setpriv', '--pdeathsig', signal, '--', ...command] : [...command];
}

/** Returns a command that runs as an account and without root's groups; for null, the command is unchanged. */
export function asAccount(command: readonly string[], account: Account | null): string[] {
  if (account === null) return [...command];
  return [
    'setpriv',
    '--reuid',
    String(account.uid),
    '--regid',
    String(account.gid),
    '--clear-groups',
    '--',
    ...command,
  ];
}

export function giveTo(path: string, account: Account | null): void {
  if (account !== null) chownSync(path, account.uid, account.gid);
}

/**
 * Makes a directory that the account of the servers can reach. If it cannot reach the checkout, for example in root's
 * home, `path` becomes a link to a directory that it can reach.
 * @returns the real path
 */
export function reachableDirectory(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  mkdirSync(dirname(path), { recursive: true });
  if (canEnter(unprivilegedAccount(), dirname(path))) {
    mkdirSync(path);
    return path;
  }
  const key = createHash('sha256').update(path).digest('hex').slice(0, 12);
  const elsewhere = join('/var/lib', `scheduler-${key}`);
  mkdirSync(elsewhere, { recursive: true });
  symlinkSync(elsewhere, path);
  return elsewhere;
}

function canEnter(account: Account | null, directory: string): boolean {
  const [program, ...args] = asAccount(['test', '-x', directory], account) as [string, ...string[]];
  return spawnSync(program, args).status === 0;
}
