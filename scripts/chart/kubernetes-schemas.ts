// kubernetes-schemas.ts SOURCE VERSION TARGET: converts the schemas of the package kubernetes-validate for kubeconform,
// which resolves references relative to the file. It also makes them strict: unknown fields become errors.
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const [source = '.', version = '', target = '.'] = process.argv.slice(2);
const directory = join(target, `v${version}.0-standalone-strict`);
mkdirSync(directory, { recursive: true });

const files = globSync(`**/kubernetes-json-schema/v${version}.*/*.json`, { cwd: source });
if (files.length === 0) throw new Error(`no schemas of Kubernetes ${version} in ${source}`);
for (const file of files) {
  const schema = JSON.parse(readFileSync(join(source, file), 'utf8')) as Record<string, unknown>;
  delete schema['$id'];
  forbidUnknownFields(schema);
  const text = JSON.stringify(schema).replaceAll('"/api/_definitions.json#', '"_definitions.json#');
  writeFileSync(join(directory, basename(file)), text);
}
function forbidUnknownFields(schema: unknown): void {
  if (typeof schema !== 'object' || schema === null) return;
  const object = schema as Record<string, unknown>;
  if (typeof object['properties'] === 'object') object['additionalProperties'] ??= false;
  for (const part of Object.values(object)) forbidUnknownFields(part);
}

writeFileSync(join(directory, 'complete'), `${files.length} files\n`);
