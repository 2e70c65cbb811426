import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** One file of `scripts/`. */
export interface Script {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
}

/** Loads `scripts/<name>.lua`; its header says what KEYS and ARGV are and what is returned. */
export function loadScript(name: string): Script {
  return scriptOf(name, readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8'));
}

export function scriptOf(name: string, lua: string): Script {
  return { name, lua, sha: createHash('sha1').update(lua).digest('hex') };
}
