import { readFileSync } from 'node:fs';

/** One entry of a `package-lock.json`. */
export interface LockedPackage {
  readonly version?: string;
  /** Where the package comes from, if it is not the registry. The project's lock files name no registry. */
  readonly resolved?: string;
  /** Hashes as in `Subresource Integrity`: `sha512-<base64>`. */
  readonly integrity?: string;
  /** An SPDX expression, from the `package.json` of the package. */
  readonly license?: string;
  /** Only packages for development need it. */
  readonly dev?: boolean;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface LockFile {
  readonly lockfileVersion: number;
  /** By the path below which npm installs the package; '' is the project itself. */
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly license: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  /** Which packages may run scripts when they are installed. */
  readonly allowScripts?: Readonly<Record<string, boolean>>;
}

/** @throws Error if the file is not a lock file of a form that this program knows */
export function readLockFile(path: string): LockFile {
  const lock = JSON.parse(readFileSync(path, 'utf8')) as LockFile;
  if (lock.lockfileVersion !== 3) throw new Error(`${path}: expected lockfileVersion 3, got ${lock.lockfileVersion}`);
  return lock;
}

export function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
}

const MODULES = 'node_modules/';

/** Returns the name of the package at a path: `node_modules/a/node_modules/@b/c` has `@b/c`. */
export function nameAt(path: string): string {
  return path.slice(path.lastIndexOf(MODULES) + MODULES.length);
}

/** Returns the path of the package that a package at `from` gets for a name, as Node looks for it; null if there is none. */
export function pathOf(lock: LockFile, from: string, name: string): string | null {
  for (let place = from; ; place = place.slice(0, Math.max(0, place.lastIndexOf(`/${MODULES}`)))) {
    const path = place === '' ? MODULES + name : `${place}/${MODULES}${name}`;
    if (lock.packages[path] !== undefined) return path;
    if (place === '') return null;
  }
}

/** The paths of all packages that are installed without development packages. */
export function productionPaths(lock: LockFile): string[] {
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path]) => path)
    .toSorted();
}

/** What `npm install --save-exact` writes: one version, no range. */
const EXACT = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/;

/**
 * Returns what is wrong with a lock file and its manifest: a package without a SHA-512, from elsewhere than the registry,
 * with an install script that nobody has judged, or a version that is not exact.
 * @param judgedScripts packages that have install scripts, whether or not these may run
 */
export function faultsOf(lock: LockFile, manifest: Manifest, judgedScripts: ReadonlySet<string>): string[] {
  const faults: string[] = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue;
    if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry.integrity ?? '')) {
      faults.push(`${path}: expected one sha512 as its integrity, got ${entry.integrity ?? 'nothing'}`);
    }
    if (entry.resolved !== undefined) faults.push(`${path}: names where it comes from: ${entry.resolved}`);
    if (entry.hasInstallScript === true && !judgedScripts.has(nameAt(path))) {
      faults.push(`${path}: has an install script that nobody has judged`);
    }
  }
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    if (!EXACT.test(version)) faults.push(`package.json: ${name}: expected an exact version, got ${version}`);
  }
  return faults;
}
