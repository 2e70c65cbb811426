import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CONFIGURATION_PATH, renderConfiguration } from './configuration-docs.ts';

it('docs/configuration.md is what the schema says; if not: npm run docs:configuration', () => {
  expect(readFileSync(CONFIGURATION_PATH, 'utf8')).toBe(renderConfiguration());
});
