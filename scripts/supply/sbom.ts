import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { baseImageOf, billOfMaterials, invalidityOf } from './bill-of-materials.ts';
import { readLockFile, readManifest } from './lock-file.ts';

/** Writes the bill of materials of the image: `sbom.ts FILE`. Exits with 1 if it would not be valid. */
const root = join(import.meta.dirname, '../..');
const [path = ''] = process.argv.slice(2);
if (path === '') throw new Error('expected the path of the file to write');
const text = billOfMaterials({
  lock: readLockFile(join(root, 'package-lock.json')),
  manifest: readManifest(join(root, 'package.json')),
  base: baseImageOf(readFileSync(join(root, 'Dockerfile'), 'utf8')),
});
const invalidity = await invalidityOf(text);
if (invalidity !== null) throw new Error(`the document is no valid CycloneDX: ${invalidity}`);
writeFileSync(path, text);
