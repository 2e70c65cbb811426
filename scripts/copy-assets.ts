import { cpSync, globSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Copies what the code reads at run time beside the emitted code: `tsc` leaves it behind. */
const root = join(import.meta.dirname, '..');

for (const path of globSync('src/**/*.{sql,lua}', { cwd: root })) {
  cpSync(join(root, path), join(root, 'dist', relative('src', path)));
}
