import { cpSync, globSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Copies the SQL and Lua files, which the code reads at run time, to `dist`, because `tsc` does not copy them. */
const root = join(import.meta.dirname, '..');

for (const path of globSync('src/**/*.{sql,lua}', { cwd: root })) {
  cpSync(join(root, path), join(root, 'dist', relative('src', path)));
}
