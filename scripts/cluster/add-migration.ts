// add-migration.ts DIRECTORY: adds a migration to a copy of the project, as the next version could do.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(process.argv[2] ?? '.', 'src/postgres/schema/migrations');
writeFileSync(
  join(directory, 'migration-9999-next.ts'),
  `import { Migration } from '@mikro-orm/migrations';

export class Migration9999Next extends Migration {
  override up(): void {
    this.addSql('ALTER TABLE queues ADD COLUMN next_version text');
  }
}
`,
);
const index = join(directory, 'index.ts');
const text = readFileSync(index, 'utf8');
const listed = text.replace(
  /(export const MIGRATIONS = \[[\s\S]*?)(,?\s*)\];/,
  "$1, { name: '9999-next', class: Migration9999Next }];",
);
if (listed === text) throw new Error('the list of migrations does not look as expected');
writeFileSync(index, `import { Migration9999Next } from './migration-9999-next.ts';\n${listed}`);
