// typed-dashboards.ts: prints a program that compiles only if the fields and values of every dashboard match Grafana's
// own types.
import { readFileSync } from 'node:fs';
import { BOARDS } from './dashboards.ts';

interface PanelJson {
  readonly type: string;
  readonly options?: object;
  readonly fieldConfig?: { readonly defaults: { readonly custom?: object } };
  readonly targets?: readonly object[];
}

/**
 * `Json` adapts Grafana's types to JSON: it compares enums by value, makes fields optional because they have defaults,
 * and removes functions and fields that begin with `_`, because JSON does not contain them.
 */
const HEADER = `
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
type Json<T> = T extends string ? \`\${T}\` : T extends readonly (infer Each)[] ? readonly Json<Each>[] : T extends object
  ? { [K in keyof T as T[K] extends (...args: never[]) => unknown ? never : K extends \`_\${string}\` ? never : K]?: Json<T[K]> } : T;
type Query = Json<Dataquery> & { refId: string };
`;

const lines = [HEADER];
const hold = (type: string, value: object): void => {
  lines.push(`export const value${lines.length}: ${type} = ${JSON.stringify(value, null, 2)};`);
};
for (const { name } of BOARDS) {
  const path = new URL(`../../charts/scheduler/dashboards/${name}.json`, import.meta.url);
  const board = JSON.parse(readFileSync(path, 'utf8')) as { readonly panels: readonly PanelJson[] };
  hold('Json<Dashboard>', board);
  for (const { type, options, fieldConfig, targets = [] } of board.panels) {
    if (options !== undefined) hold(`Json<${type}.Options>`, options);
    if (fieldConfig?.defaults.custom !== undefined) hold(`Json<${type}.FieldConfig>`, fieldConfig.defaults.custom);
    for (const target of targets) hold('Query', target);
  }
}
console.log(lines.join('\n'));
