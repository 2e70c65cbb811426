import { spawnSync } from 'node:child_process';
import { chownSync, readFileSync } from 'node:fs';

/** The account that servers run as where the caller is root: PostgreSQL refuses root. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const CANDIDATES = ['postgres', 'nobody'];

/** The account to become, or null where the caller is not root and stays what it is. */
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

/** Linux: the command ends with `signal` when the process that starts it dies, however it dies. Elsewhere unchanged. */
export function boundToParent(command: readonly string[], signal: 'INT' | 'TERM' | 'KILL'): string[] {
  setprivWorks ??= process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'keep', 'true']).status === 0;
  return setprivWorks ? ['setpriv', '--pdeathsig', signal, '--', ...command] : [...command];
}

/** The command run as an account, without root's groups; unchanged for null. */
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

/** Whether an account can reach a directory: root's home, for one, admits nobody else. */
export function canEnter(account: Account | null, directory: string): boolean {
  const [program, ...args] = asAccount(['test', '-x', directory], account) as [string, ...string[]];
  return spawnSync(program, args).status === 0;
}
