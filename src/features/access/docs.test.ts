import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ROLES, SCOPE_MEANINGS, SCOPES } from '../../core/access/scopes.ts';
import { TERM_NAMES } from './terms.ts';

const DOCUMENT = new URL('../../../docs/access.md', import.meta.url);

const TABLE = /(?<=<!-- generated from src\/core\/access\/scopes.ts .*-->\n)[\s\S]*?(?=<!-- end -->)/;

it('docs/access.md has the table of scopes and roles', async () => {
  const roles = Object.entries(ROLES) as [string, readonly string[]][];
  const rows = SCOPES.map((scope) => {
    const having = roles.map(([, scopes]) => (scopes.includes(scope) ? 'yes' : ''));
    return `| \`${scope}\` | ${SCOPE_MEANINGS[scope]} | ${having.join(' | ')} |`;
  });
  const table = `
| scope | allows to | ${roles.map(([role]) => `\`${role}\``).join(' | ')} |
|---|---|${'---|'.repeat(roles.length)}
${rows.join('\n')}

`;
  const text = readFileSync(DOCUMENT, 'utf8').replace(TABLE, () => table);
  await expect(text).toMatchFileSnapshot(DOCUMENT.pathname);
});

it('docs/access.md names every option that says what a client may do', () => {
  const text = readFileSync(DOCUMENT, 'utf8');
  for (const name of TERM_NAMES) expect(text).toContain(`--${name}`);
});
