import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const MODULES = join(import.meta.dirname, '..', 'node_modules');

export function packageVersion(name: string): string {
  return (JSON.parse(readFileSync(join(MODULES, name, 'package.json'), 'utf8')) as { version: string }).version;
}

export function whyNoPackage(name: string): string | null {
  return existsSync(join(MODULES, name)) ? null : `${name} is not installed: npm ci --prefix bench`;
}

export function workerFile(name: string): string {
  return join(import.meta.dirname, '..', 'workers', `${name}.ts`);
}
