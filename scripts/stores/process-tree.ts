import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Returns a process and all its descendants, parents first. */
export function processTree(pid: number): number[] {
  const parents = parentsOfAll();
  const tree = [pid];
  for (const member of tree) {
    for (const [child, parent] of parents) if (parent === member) tree.push(child);
  }
  return tree;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return !isZombie(pid);
}

/** Returns the command line of a process, with its words joined by spaces; empty if there is no such process. */
export function commandLineOf(pid: number): string {
  if (process.platform !== 'linux') {
    return spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim();
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

/** Sends a signal to each process, and ignores processes that have already ended. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

function parentsOfAll(): Map<number, number> {
  const parents = new Map<number, number>();
  if (process.platform === 'linux') {
    // Read /proc directly, because a minimal Debian has no `ps`.
    for (const entry of readdirSync('/proc')) {
      const stat = /^\d+$/.test(entry) ? statFields(Number(entry)) : null;
      if (stat !== null) parents.set(Number(entry), Number(stat[1]));
    }
    return parents;
  }
  const rows = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).stdout.split('\n');
  for (const row of rows) {
    const [pid, parent] = row.trim().split(/\s+/);
    if (pid !== undefined && parent !== undefined) parents.set(Number(pid), Number(parent));
  }
  return parents;
}

function isZombie(pid: number): boolean {
  return process.platform === 'linux' && statFields(pid)?.[0] === 'Z';
}

/** Returns the fields of /proc/<pid>/stat after the name, which may contain spaces and parentheses: state, parent, … */
function statFields(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}
