import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { KubernetesObject, Loose } from './render.ts';

/** The data of Secrets that the chart does not make, by name. */
export type Secrets = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** A directory with the files that a pod sees. It is deleted with `using`. */
export interface Mounted extends Disposable {
  readonly directory: string;
}

/**
 * Writes the files of a projected volume as the kubelet does: behind the link `..data`, with a link for each first part
 * of a path. @throws if an object or a key is missing that is not optional: such a pod would not start
 */
export function mount(objects: readonly KubernetesObject[], volume: Loose, secrets: Secrets): Mounted {
  const directory = mkdtempSync(join(tmpdir(), 'mounted-'));
  mkdirSync(join(directory, '..2026'));
  const linked = new Set<string>();
  for (const { secret, configMap } of volume.projected.sources as Loose[]) {
    const { name, items, optional = false } = secret ?? configMap;
    const data: Record<string, string> | undefined =
      secret === undefined
        ? objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === name)?.data
        : secrets[name];
    for (const { key, path } of items) {
      const text = data?.[key];
      if (text === undefined && optional) continue;
      if (text === undefined) throw new Error(`the pod would not start: ${name} has no key ${key}`);
      const place = join(directory, '..2026', path);
      mkdirSync(dirname(place), { recursive: true });
      writeFileSync(place, text);
      linked.add(path.split('/')[0]);
    }
  }
  symlinkSync('..2026', join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  for (const first of linked) symlinkSync(join('..data', first), join(directory, first));
  return { directory, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}
