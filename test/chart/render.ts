import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const CHART = `${ROOT}charts/scheduler`;
export const BASE = 'charts/scheduler/ci/base-values.yaml';
export const CI_VALUES = readdirSync(`${CHART}/ci`).map((file) => `charts/scheduler/ci/${file}`);
export const K8S_VALUES = readdirSync(`${ROOT}k8s`)
  .filter((file) => /^values-.*\.yaml$/.test(file))
  .map((file) => `k8s/${file}`);

// Tests read many parts of Kubernetes objects, whose types would be longer than the tests.
export type Loose = any;
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly spec: Loose;
  readonly data: Loose;
}

/** Returns the values files for a platform. Most need BASE too, because they leave the choice of stores to the user. */
export function withStores(file: string): string[] {
  return /kind|eks/.test(file) ? [file] : [BASE, file];
}

export interface RenderOptions {
  readonly release?: string;
  readonly namespace?: string;
  readonly values?: readonly string[];
  readonly set?: readonly string[];
  readonly args?: readonly string[];
  /** Directory of the chart. */
  readonly chart?: string;
}

const rendered = new Map<string, { text: string; error: string }>();

/** Returns the output of `helm template`, and its error if it fails. */
export function helmTemplate(options: RenderOptions = {}): { text: string; error: string } {
  const { release = 'r', namespace = 'test', values = [BASE], set = [], args = [], chart = CHART } = options;
  const command = [
    'template',
    release,
    chart,
    `--namespace=${namespace}`,
    ...values.flatMap((file) => ['--values', file]),
    ...set.flatMap((each) => ['--set-json', each]),
    ...args,
  ];
  const key = command.join('\0');
  let result = rendered.get(key);
  if (result === undefined) {
    const { status, stdout, stderr, error } = spawnSync('helm', command, {
      cwd: ROOT,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    if (error !== undefined) throw error;
    result = { text: stdout, error: status === 0 ? '' : stderr };
    rendered.set(key, result);
  }
  return result;
}

/** Renders the chart and returns its objects. @throws if Helm fails */
export function render(options: RenderOptions = {}): KubernetesObject[] {
  const { text, error } = helmTemplate(options);
  if (error !== '') throw new Error(error);
  // Helm and Kubernetes read YAML 1.1, in which `on` is a boolean.
  return parseAllDocuments(text, { version: '1.1' })
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0]!;
      return document.toJS() as KubernetesObject | null;
    })
    .filter((object) => object !== null);
}

export function only(objects: readonly KubernetesObject[], kind: string, nameEnd = ''): KubernetesObject {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name.endsWith(nameEnd));
  if (found.length !== 1) throw new Error(`expected one ${kind} …${nameEnd}, found ${found.length}`);
  return found[0]!;
}

/** Returns the metadata and spec of every pod that the objects create, with its owner's kind and name. */
export function podsOf(objects: readonly KubernetesObject[]): { owner: string; metadata: Loose; spec: Loose }[] {
  return objects.flatMap((object) => {
    const owner = `${object.kind} ${object.metadata.name}`;
    if (object.kind === 'Pod') return [{ owner, metadata: object.metadata, spec: object.spec }];
    const template = object.kind === 'CronJob' ? object.spec.jobTemplate.spec.template : object.spec?.template;
    return template === undefined ? [] : [{ owner, metadata: template.metadata, spec: template.spec }];
  });
}

export function containersOf(pod: { spec: Loose }): Loose[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
}

export const readText = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');

export const env = (container: Loose, name: string): Loose => container.env.find((each: Loose) => each.name === name);
