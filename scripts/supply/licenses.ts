import type { LockFile } from './lock-file.ts';
import { productionPaths } from './lock-file.ts';

/**
 * Licences under which a package may be part of the image. All of them allow to pass the image on as part of other work,
 * if their texts are kept, which the image does. Anything else, above all a licence that asks for the source of the whole
 * (copyleft), has to be judged by a person first.
 */
export const ACCEPTED: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'MIT-0',
  'PSF-2.0',
  'Python-2.0',
  'Unlicense',
]);

/** Returns the packages of the image whose licence is not in the list, with it. */
export function foreignLicenses(lock: LockFile): string[] {
  return productionPaths(lock).flatMap((path) => {
    const { license = 'none' } = lock.packages[path] ?? {};
    return isAccepted(license) ? [] : [`${path}: ${license}`];
  });
}

/** Of `A OR B`, one is enough; `A AND B` and `A WITH B` are judged by a person. */
export function isAccepted(license: string): boolean {
  const choices = license.replace(/^\((.*)\)$/, '$1').split(' OR ');
  return choices.some((choice) => ACCEPTED.has(choice));
}
