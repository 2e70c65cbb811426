#!/usr/bin/env node
// generate.ts [--check]: writes the files that are generated from others: the chart's README, the settings in its schema,
// their bounds, its dashboards, and the alerts for Docker Compose. Needs helm on the PATH.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { grafanaJson } from './dashboard.ts';
import { BOARDS } from './dashboards.ts';
import { valuesTable } from './readme.ts';
import { configSchema, settingBounds } from './settings.ts';

const ROOT = new URL('../../', import.meta.url);
const CHART = 'charts/scheduler';

const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');

/** Returns the content of every generated file, by its path in the repository. */
export function generatedFiles(): Map<string, string> {
  const files = new Map<string, string>();
  files.set(`${CHART}/README.md`, readme());
  files.set(`${CHART}/values.schema.json`, schema());
  files.set(`${CHART}/files/settings.json`, `${JSON.stringify(settingBounds(), null, 2)}\n`);
  for (const board of BOARDS) files.set(`${CHART}/dashboards/${board.name}.json`, grafanaJson(board));
  files.set('observability/rules.yaml', composeRules());
  return files;
}

function readme(): string {
  const text = read(`${CHART}/README.md`);
  const marker = /(<!-- values -->\n)[\s\S]*(\n<!-- \/values -->)/;
  if (!marker.test(text)) throw new Error('README.md of the chart has no place for its values');
  return text.replace(
    marker,
    (_, before: string, after: string) => before + valuesTable(read(`${CHART}/values.yaml`)) + after,
  );
}

function schema(): string {
  const whole = JSON.parse(read(`${CHART}/values.schema.json`)) as { $defs: Record<string, object> };
  whole.$defs['config'] = configSchema();
  return `${JSON.stringify(whole, null, 2)}\n`;
}

/**
 * Renders the chart's alerts for a Prometheus without the operator. The Prometheus of compose.observability.yaml gives
 * its targets the same labels.
 */
function composeRules(): string {
  const set = 'metrics.rules.enabled=true';
  const only = 'templates/monitoring/rules.yaml';
  const values = `${CHART}/ci/base-values.yaml`;
  const rendered = execFileSync(
    'helm',
    ['template', 'scheduler', CHART, '--namespace=compose', '--values', values, '--set', set, '--show-only', only],
    { cwd: fileURLToPath(ROOT), encoding: 'utf8' },
  );
  const { spec } = parse(rendered) as { spec: object };
  return `# Made from the chart's alerts by scripts/chart/generate.ts.\n${stringify(spec, { lineWidth: 0 })}`;
}

if (import.meta.main) {
  const check = process.argv.includes('--check');
  const stale: string[] = [];
  for (const [path, content] of generatedFiles()) {
    let current = '';
    try {
      current = read(path);
    } catch {
      // The file does not exist yet.
    }
    if (current === content) continue;
    stale.push(path);
    if (!check) writeFileSync(new URL(path, ROOT), content);
  }
  for (const path of stale) console.log(check ? `out of date: ${path}` : `written: ${path}`);
  if (check && stale.length > 0) process.exitCode = 1;
}
