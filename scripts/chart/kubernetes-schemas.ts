// kubernetes-schemas.ts SOURCE VERSION TARGET: makes the schemas that the package kubernetes-validate ships usable by
// kubeconform, which resolves references relative to the file.
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
  const text = JSON.stringify(schema).replaceAll('"/api/_definitions.json#', '"_definitions.json#');
  writeFileSync(join(directory, basename(file)), text);
}
writeFileSync(join(directory, 'complete'), `${files.length} files\n`);
