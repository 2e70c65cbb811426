// promql-rules.ts: prints the demand, of all queues and of one, and every query of the dashboards as recording rules, for promtool.
import { stringify } from 'yaml';
import { BOARDS } from './dashboards.ts';
import { demandQuery } from './promql.ts';

/** What Grafana puts in, by something that parses. */
const plain = (expr: string): string => expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, 'x');

const rules = BOARDS.flatMap(({ name, rows }) =>
  rows
    .flatMap(({ panels }) => panels.flatMap(({ queries }) => queries))
    .map(({ expr }, index) => ({ record: `dashboard:${name}:query_${index}`, expr: plain(expr) })),
);
rules.unshift(
  { record: 'demand', expr: demandQuery('compose', 'scheduler', '.+') },
  { record: 'demand_of_reports', expr: demandQuery('compose', 'scheduler', 'reports') },
);
process.stdout.write(stringify({ groups: [{ name: 'dashboards', rules }] }, { lineWidth: 0 }));
