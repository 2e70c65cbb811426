// skaffold-profiles.ts DIRECTORY: writes skaffold.yaml with the patches of each profile into the directory, so that the
// results can be checked against the schema.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';

interface Patch {
  readonly op: 'add' | 'remove' | 'replace';
  readonly path: string;
  readonly value?: unknown;
}

interface Profile {
  readonly name: string;
  readonly patches: readonly Patch[];
}

type Node = Record<string, unknown> | unknown[];

/**
 * Returns the configuration with the patches of one profile.
 * @throws Error if a patch refers to a path that does not exist, as Skaffold does
 */
export function withPatches(config: object, { name, patches }: Profile): object {
  const patched = structuredClone(config);
  for (const { op, path, value } of patches) {
    const keys = path.split('/').slice(1);
    const last = keys.pop() ?? '';
    let node: unknown = patched;
    for (const key of keys) node = child(node, key);
    if (typeof node !== 'object' || node === null || (op !== 'add' && child(node, last) === undefined))
      throw new Error(`profile ${name}: nothing to ${op} at ${path}`);
    apply(node as Node, op, last, value);
  }
  return patched;
}

function child(node: unknown, key: string): unknown {
  return (node as Record<string, unknown> | undefined)?.[key];
}

function apply(node: Node, op: Patch['op'], key: string, value: unknown): void {
  if (Array.isArray(node)) {
    const index = key === '-' ? node.length : Number(key);
    node.splice(index, op === 'add' ? 0 : 1, ...(op === 'remove' ? [] : [value]));
  } else if (op === 'remove') delete node[key];
  else node[key] = value;
}

if (import.meta.main) {
  const directory = process.argv[2] ?? '.';
  const config = parse(readFileSync(new URL('../../skaffold.yaml', import.meta.url), 'utf8')) as {
    profiles: readonly Profile[];
  };
  for (const profile of config.profiles)
    writeFileSync(join(directory, `${profile.name}.yaml`), stringify(withPatches(config, profile)));
}
