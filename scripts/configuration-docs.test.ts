import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CONFIGURATION_PATH, renderConfiguration } from './configuration-docs.ts';

it('docs/configuration.md matches the schema (if it does not, run npm run docs:configuration)', () => {
  expect(readFileSync(CONFIGURATION_PATH, 'utf8')).toBe(renderConfiguration());
});
