// promql-rules.ts: prints recording rules for promtool: the demand of all queues and of one queue, and every query of the
// dashboards.
import { stringify } from 'yaml';
import { BOARDS } from './dashboards.ts';
import { demandQuery } from './promql.ts';

/** Replaces Grafana's variables with values that promtool can parse. */
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
