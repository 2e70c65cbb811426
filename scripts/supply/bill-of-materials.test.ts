import { readFileSync } from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { baseImageOf, billOfMaterials, invalidityOf } from './bill-of-materials.ts';
import { nameAt, productionPaths, readLockFile, readManifest } from './lock-file.ts';

const root = join(import.meta.dirname, '../..');
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8');
const materials = {
  lock: readLockFile(join(root, 'package-lock.json')),
  manifest: readManifest(join(root, 'package.json')),
  base: baseImageOf(dockerfile),
};

/** Compiling the schema takes a second on an idle machine. */
const SCHEMA_MS = 60_000;

interface Listed {
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly 'bom-ref': string;
  readonly purl: string;
  readonly hashes?: { alg: string; content: string }[];
  readonly licenses?: { license?: { id: string }; expression?: string }[];
  readonly properties?: { name: string; value: string }[];
}
interface Document {
  readonly serialNumber: string;
  readonly metadata: { readonly timestamp?: string; readonly component: Listed };
  readonly components: Listed[];
  readonly dependencies: { ref: string; dependsOn?: string[] }[];
}

let text: string;
let document: Document;
beforeAll(() => {
  text = billOfMaterials(materials);
  document = JSON.parse(text) as Document;
});

describe('the bill of materials', () => {
  it(
    'is valid CycloneDX',
    async () => {
      expect(await invalidityOf(text)).toBeNull();
      expect(await invalidityOf(text.replace('"SHA-512"', '"SHA-0"'))).not.toBeNull();
      expect(await invalidityOf(text.replace('"MIT"', '"MY-OWN"'))).not.toBeNull();
    },
    SCHEMA_MS,
  );

  it('has each package of the image exactly once, with all its places, its hash and its licence', () => {
    const libraries = document.components.filter(({ type }) => type === 'library');
    const listed = libraries.flatMap(({ name, version, hashes, licenses, properties = [] }) => {
      expect(licenses, name).toHaveLength(1);
      const hash = Buffer.from(hashes?.find(({ alg }) => alg === 'SHA-512')?.content ?? '', 'hex').toString('base64');
      return properties.map(({ value }) => ({ path: value, name, version, integrity: `sha512-${hash}` }));
    });
    const { packages } = materials.lock;
    const expected = productionPaths(materials.lock).map((path) => {
      const { version, integrity } = packages[path] ?? {};
      return { path, name: nameAt(path), version, integrity };
    });
    expect(listed.toSorted((a, b) => (a.path < b.path ? -1 : 1))).toEqual(expected);
    expect(expected.length).toBeGreaterThan(100);
    const purls = document.components.map(({ purl }) => purl);
    expect(new Set(purls).size).toBe(purls.length);
    expect(purls).toContain('pkg:npm/%40koa/router@15.7.0');
    // No package for development.
    expect(purls.filter((purl) => purl.includes('vitest') || purl.includes('/typescript@'))).toEqual([]);
  });

  it('has the base image by its digest, and Node.js', () => {
    const [, digest] = /@sha256:([0-9a-f]{64})/.exec(dockerfile) ?? [];
    expect(document.components.filter(({ type }) => type !== 'library')).toMatchObject([
      { type: 'container', name: 'node', hashes: [{ alg: 'SHA-256', content: digest }] },
      { type: 'platform', name: 'node', version: materials.base.nodeVersion },
    ]);
  });

  it('says what needs what', () => {
    const needs = new Map(document.dependencies.map(({ ref, dependsOn = [] }) => [ref, dependsOn]));
    const own = needs.get(document.metadata.component['bom-ref']) ?? [];
    const direct = Object.entries(materials.manifest.dependencies ?? {}).map(([name, version]) => `${name}@${version}`);
    expect(own.map((ref) => decodeURIComponent(ref.replace('pkg:npm/', ''))).toSorted()).toEqual(
      [...direct, 'base-image'].toSorted(),
    );
    const reached = new Set<string>();
    const follow = (ref: string): void => {
      if (reached.has(ref)) return;
      reached.add(ref);
      for (const next of needs.get(ref) ?? []) follow(next);
    };
    follow(document.metadata.component['bom-ref']);
    // Only packages that another one may bring along as its peer are needed by nobody.
    const unreached = document.components.filter((one) => !reached.has(one['bom-ref'])).map(({ name }) => name);
    expect(unreached).toEqual([]);
  });

  it('is the same every time, and has no trace of a machine, a time or a registry', () => {
    expect(billOfMaterials(materials)).toBe(text);
    expect(document.metadata.timestamp).toBeUndefined();
    for (const trace of [root, homedir(), tmpdir(), hostname(), 'registry', 'npmjs'])
      expect([trace, text.includes(trace)]).toEqual([trace, false]);
    expect(document.serialNumber).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    const next = { ...materials, manifest: { ...materials.manifest, version: '99.0.0' } };
    expect((JSON.parse(billOfMaterials(next)) as Document).serialNumber).not.toBe(document.serialNumber);
  });

  it('is refused if the lock file lacks a hash or a licence', () => {
    const path = 'node_modules/koa';
    for (const missing of ['integrity', 'license'] as const) {
      const { [missing]: _, ...rest } = materials.lock.packages[path] ?? {};
      const lock = { ...materials.lock, packages: { ...materials.lock.packages, [path]: rest } };
      expect(() => billOfMaterials({ ...materials, lock })).toThrow(path);
    }
  });
});

describe('baseImageOf', () => {
  it('reads name, tag, digest and the version of Node.js', () => {
    expect(materials.base).toEqual({
      name: 'node',
      tag: '24-bookworm-slim',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      nodeVersion: expect.stringMatching(/^24\.\d+\.\d+$/),
    });
  });

  it(
    'does without a digest, but not without a name or a version',
    async () => {
      const base = baseImageOf(dockerfile.replace(/@sha256:[0-9a-f]{64}/, ''));
      expect(base.digest).toBeNull();
      expect(await invalidityOf(billOfMaterials({ ...materials, base }))).toBeNull();
      expect(() => baseImageOf(dockerfile.replace('ARG NODE_IMAGE', 'ARG OTHER'))).toThrow('NODE_IMAGE');
      expect(() => baseImageOf(dockerfile.replace('This one is', 'It is'))).toThrow('This one is');
    },
    SCHEMA_MS,
  );
});
