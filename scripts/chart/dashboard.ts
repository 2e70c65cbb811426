/** The part of Grafana's dashboard model that boards of PromQL queries need. */

export interface Query {
  readonly expr: string;
  readonly legend: string;
}

export type Unit = 'short' | 's' | 'percentunit' | 'reqps' | 'ops' | 'dateTimeFromNow' | 'bytes';

export interface Panel {
  readonly title: string;
  readonly kind: 'timeseries' | 'stat' | 'table';
  readonly queries: readonly Query[];
  readonly unit: Unit;
  readonly description: string;
  /** Number of columns, of 24. */
  readonly width: number;
  readonly stack: boolean;
  /** Values at which the panel turns orange and red. */
  readonly thresholds: readonly [number, number] | null;
}

export interface Board {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[];
}

type PanelOptions = Partial<Pick<Panel, 'unit' | 'width' | 'stack' | 'thresholds'>>;

function panel(
  kind: Panel['kind'],
  title: string,
  description: string,
  queries: readonly Query[],
  options: PanelOptions,
): Panel {
  const width = kind === 'stat' ? 4 : 12;
  return { kind, title, description, queries, unit: 'short', width, stack: false, thresholds: null, ...options };
}

export function graph(
  title: string,
  description: string,
  queries: readonly Query[],
  options: PanelOptions = {},
): Panel {
  return panel('timeseries', title, description, queries, options);
}

export function figure(title: string, description: string, expr: string, options: PanelOptions = {}): Panel {
  return panel('stat', title, description, [{ expr, legend: title }], options);
}

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const COLUMNS = 24;

/** Returns the board as JSON for Grafana. */
export function grafanaJson(board: Board): string {
  const panels: object[] = [];
  let id = 1;
  let y = 0;
  for (const row of board.rows) {
    panels.push({
      id: id++,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: COLUMNS, h: 1 },
    });
    let x = 0;
    let height = 0;
    for (const each of row.panels) {
      if (x + each.width > COLUMNS) {
        x = 0;
        y += height;
        height = 0;
      }
      const own = each.kind === 'stat' ? 4 : 8;
      panels.push(panelJson(each, id++, { x, y, w: each.width, h: own }));
      x += each.width;
      height = Math.max(height, own);
    }
    y += height;
  }
  return `${JSON.stringify(boardJson(board, panels), null, 2)}\n`;
}

function boardJson(board: Board, panels: readonly object[]): object {
  return {
    uid: `scheduler-${board.name}`,
    title: board.title,
    description: board.description,
    tags: ['scheduler'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    links: [
      {
        type: 'dashboards',
        title: 'Scheduler',
        tags: ['scheduler'],
        asDropdown: false,
        keepTime: true,
        includeVars: true,
      },
    ],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
        variable('namespace', 'Namespace', 'label_values(scheduler_queue_tasks, namespace)'),
        {
          ...variable('release', 'Release', 'label_values(scheduler_queue_tasks{namespace="$namespace"}, pod)'),
          // The names of the API's pods have the form <release>-api-…
          regex: '/^(.+)-api-.+$/',
        },
        {
          ...variable('queue', 'Queue', 'label_values(scheduler_queue_tasks{namespace="$namespace"}, queue)'),
          multi: true,
          includeAll: true,
          allValue: '.+',
        },
      ],
    },
    panels,
  };
}

function variable(name: string, label: string, query: string): object {
  return { name, label, type: 'query', datasource: DATASOURCE, query: { query, refId: name }, refresh: 2, sort: 1 };
}

function panelJson(each: Panel, id: number, gridPos: object): object {
  const steps = [{ color: 'green', value: null as number | null }];
  if (each.thresholds !== null) {
    steps.push({ color: 'orange', value: each.thresholds[0] }, { color: 'red', value: each.thresholds[1] });
  }
  const custom = {
    fillOpacity: each.stack ? 30 : 8,
    showPoints: 'never',
    stacking: { mode: each.stack ? 'normal' : 'none' },
  };
  return {
    id,
    type: each.kind,
    title: each.title,
    description: each.description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: each.unit,
        min: 0,
        thresholds: { mode: 'absolute', steps },
        ...(each.kind === 'timeseries' ? { custom } : {}),
      },
      overrides: [],
    },
    options:
      each.kind === 'stat'
        ? {
            reduceOptions: { calcs: ['lastNotNull'] },
            colorMode: each.thresholds === null ? 'none' : 'background',
            graphMode: 'area',
          }
        : {
            legend: { showLegend: true, displayMode: 'list', placement: 'bottom' },
            tooltip: { mode: 'multi', sort: 'desc' },
          },
    targets: each.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCodePoint(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      instant: each.kind === 'table',
      range: each.kind !== 'table',
    })),
  };
}
