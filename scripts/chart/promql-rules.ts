// promql-rules.ts: prints every query of the dashboards as a recording rule, for promtool to check.
import { stringify } from 'yaml';
import { BOARDS } from './dashboards.ts';

/** What Grafana puts in, by something that parses. */
const plain = (expr: string): string => expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, 'x');

const rules = BOARDS.flatMap(({ name, rows }) =>
  rows
    .flatMap(({ panels }) => panels.flatMap(({ queries }) => queries))
    .map(({ expr }, index) => ({ record: `dashboard:${name}:query_${index}`, expr: plain(expr) })),
);
process.stdout.write(stringify({ groups: [{ name: 'dashboards', rules }] }, { lineWidth: 0 }));
