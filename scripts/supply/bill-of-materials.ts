import { createHash } from 'node:crypto';
import { ComponentType, HashAlgorithm } from '@cyclonedx/cyclonedx-library/Enums';
import {
  Bom,
  Component,
  HashDictionary,
  LicenseExpression,
  LicenseRepository,
  Property,
  SpdxLicense,
} from '@cyclonedx/cyclonedx-library/Models';
import { JSON as CycloneDxJson, JsonSerializer } from '@cyclonedx/cyclonedx-library/Serialize';
import { isSupportedSpdxId } from '@cyclonedx/cyclonedx-library/SPDX';
import { Spec1dot6 } from '@cyclonedx/cyclonedx-library/Spec';
import { JsonStrictValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { PackageURL } from 'packageurl-js';
import { nameAt, pathOf, productionPaths, type LockFile, type Manifest } from './lock-file.ts';

/** The image below ours, as the Dockerfile names it. */
export interface BaseImage {
  readonly name: string;
  readonly tag: string;
  /** SHA-256 of its index, in hexadecimal digits; null in a copy of the Dockerfile that does without. */
  readonly digest: string | null;
  /** The version of Node.js that it has. */
  readonly nodeVersion: string;
}

export interface Materials {
  readonly lock: LockFile;
  readonly manifest: Manifest;
  readonly base: BaseImage;
}

/**
 * Finds the base image in a Dockerfile. Its tag names only the major version of Node.js; the exact one is in a comment
 * beside the digest.
 * @throws Error if the Dockerfile does not say it in the expected words
 */
export function baseImageOf(dockerfile: string): BaseImage {
  const [, name, tag] = /^ARG NODE_IMAGE=([a-z0-9/._-]+):([\w.-]+)$/m.exec(dockerfile) ?? [];
  const [, nodeVersion] = /^# .*\bThis one is (\d+\.\d+\.\d+)\b/m.exec(dockerfile) ?? [];
  const [, digest = null] = /^FROM \$\{NODE_IMAGE\}@sha256:([0-9a-f]{64}) AS node$/m.exec(dockerfile) ?? [];
  if (name === undefined || tag === undefined) throw new Error('Dockerfile: expected `ARG NODE_IMAGE=name:tag`');
  if (nodeVersion === undefined) throw new Error('Dockerfile: expected a comment with `This one is <version of Node>`');
  return { name, tag, digest, nodeVersion };
}

const SPEC = Spec1dot6;
const VALIDATOR = new JsonStrictValidator(SPEC.version);

/**
 * Describes what the image consists of, as a CycloneDX document. It is made of files of the project only, so the same
 * commit gives the same text on every machine and at any time: there is no time stamp in it, and its serial number is a
 * hash of its content.
 */
export function billOfMaterials(materials: Materials): string {
  const serializer = new JsonSerializer(new CycloneDxJson.Normalize.Factory(SPEC));
  const textOf = (bom: Bom): string => `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
  const bom = bomOf(materials);
  bom.serialNumber = uuidOf(textOf(bom));
  return textOf(bom);
}

/** Returns why a text is no valid CycloneDX document; null if it is one. */
export async function invalidityOf(text: string): Promise<string | null> {
  const error = await VALIDATOR.validate(text);
  return error === null ? null : JSON.stringify(error);
}

function bomOf({ lock, manifest, base }: Materials): Bom {
  const root = new Component(ComponentType.Application, manifest.name, {
    version: manifest.version,
    bomRef: purlOf(manifest.name, manifest.version),
    purl: purlOf(manifest.name, manifest.version),
    licenses: licensesOf(manifest.license),
    ...(manifest.description === undefined ? {} : { description: manifest.description }),
  });
  const bom = new Bom();
  bom.metadata.component = root;
  const image = imageComponent(base);
  const node = nodeComponent(base);
  image.dependencies.add(node.bomRef);
  root.dependencies.add(image.bomRef);
  bom.components.add(image).add(node);

  const components = packageComponents(lock);
  for (const [path, component] of components) {
    bom.components.add(component);
    const { dependencies = {}, optionalDependencies = {} } = lock.packages[path] ?? {};
    link(lock, components, {
      from: path,
      of: component,
      names: Object.keys({ ...dependencies, ...optionalDependencies }),
    });
  }
  link(lock, components, { from: '', of: root, names: Object.keys(manifest.dependencies ?? {}) });
  return bom;
}

/** Makes a component for each version of each package. npm may have installed it at several paths. */
function packageComponents(lock: LockFile): Map<string, Component> {
  const byPurl = new Map<string, Component>();
  const byPath = new Map<string, Component>();
  for (const path of productionPaths(lock)) {
    const { version, integrity = '', license } = lock.packages[path] ?? {};
    const name = nameAt(path);
    if (version === undefined || license === undefined)
      throw new Error(`${path}: the lock file lacks version or license`);
    const purl = purlOf(name, version);
    const component =
      byPurl.get(purl) ??
      new Component(ComponentType.Library, name, {
        version,
        purl,
        bomRef: purl,
        licenses: licensesOf(license),
        hashes: new HashDictionary([[HashAlgorithm['SHA-512'], hexOf(path, integrity)]]),
      });
    component.properties.add(new Property('cdx:npm:package:path', path));
    byPurl.set(purl, component);
    byPath.set(path, component);
  }
  return byPath;
}

interface Links {
  readonly from: string;
  readonly of: Component;
  readonly names: readonly string[];
}

function link(lock: LockFile, components: ReadonlyMap<string, Component>, { from, of, names }: Links): void {
  for (const name of names) {
    const path = pathOf(lock, from, name);
    const component = path === null ? undefined : components.get(path);
    // An optional package that does not fit any platform of ours may be missing.
    if (component !== undefined) of.dependencies.add(component.bomRef);
  }
}

function imageComponent({ name, tag, digest }: BaseImage): Component {
  const version = digest === null ? tag : `sha256:${digest}`;
  return new Component(ComponentType.Container, name, {
    version,
    bomRef: 'base-image',
    purl: new PackageURL('docker', undefined, name, version, { tag }, undefined).toString(),
    description: 'base of the image, with its Debian packages',
    ...(digest === null ? {} : { hashes: new HashDictionary([[HashAlgorithm['SHA-256'], digest]]) }),
  });
}

function nodeComponent({ nodeVersion }: BaseImage): Component {
  return new Component(ComponentType.Platform, 'node', {
    version: nodeVersion,
    bomRef: 'node',
    purl: new PackageURL('generic', undefined, 'node', nodeVersion, undefined, undefined).toString(),
    description: 'Node.js, part of the base image',
    licenses: licensesOf('MIT'),
  });
}

function purlOf(name: string, version: string): string {
  const slash = name.indexOf('/');
  const scope = slash === -1 ? undefined : name.slice(0, slash);
  return new PackageURL('npm', scope, name.slice(slash + 1), version, undefined, undefined).toString();
}

function licensesOf(license: string): LicenseRepository {
  return new LicenseRepository([
    isSupportedSpdxId(license) ? new SpdxLicense(license) : new LicenseExpression(license),
  ]);
}

/** Returns the SHA-512 of an integrity in hexadecimal digits. */
function hexOf(path: string, integrity: string): string {
  const [, base64 = ''] = /^sha512-([A-Za-z0-9+/]+=*)$/.exec(integrity) ?? [];
  if (base64 === '') throw new Error(`${path}: expected one sha512 as its integrity, got ${integrity || 'nothing'}`);
  return Buffer.from(base64, 'base64').toString('hex');
}

/** Makes a UUID of version 8 (RFC 9562), whose bits are those of a hash. */
function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `urn:uuid:${[hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')}`;
}
