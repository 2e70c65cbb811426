import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { judge, readAccepted, readAudit, type Advisory } from './advisories.ts';

/**
 * Asks the registry for advisories about the locked packages. See `scripts/audit` for the exit codes.
 */
const root = join(import.meta.dirname, '../..');
const FOUND = 1;
const UNANSWERED = 3;

const SETS = [
  { name: 'packages of the image', directory: '.', options: ['--omit=dev'], gates: true },
  { name: 'packages for development', directory: '.', options: [], gates: false },
  { name: 'packages of the benchmark', directory: 'bench', options: [], gates: false },
] as const;

const today = new Date().toISOString().slice(0, 10);
const accepted = readAccepted(readFileSync(join(import.meta.dirname, 'accepted-advisories.json'), 'utf8'), today);
for (const { id, until } of accepted)
  if (until < today) console.log(`${id} was accepted until ${until}: look at it again`);

let code = 0;
for (const { name, directory, options, gates } of SETS) {
  const { stdout, error } = spawnSync('npm', ['audit', '--json', '--package-lock-only', ...options], {
    cwd: join(root, directory),
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    timeout: 120_000,
  });
  const answer = error === undefined ? readAudit(stdout) : ({ kind: 'unanswered', why: error.message } as const);
  if (answer.kind === 'unanswered') {
    console.log(`${name}: not checked, the registry did not answer (${answer.why})`);
    if (code === 0) code = UNANSWERED;
    continue;
  }
  const { serious, accepted: known, minor } = judge(answer.advisories, accepted, today);
  console.log(`${name}: ${serious.length} high or critical, ${minor.length} minor, ${known.length} accepted`);
  for (const advisory of [...serious, ...minor]) console.log(`  ${lineOf(advisory)}`);
  if (gates && serious.length > 0) code = FOUND;
}
process.exitCode = code;

function lineOf({ id, package: name, severity, title }: Advisory): string {
  return `${severity} ${id} ${name}: ${title}`;
}
