import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, jsonText, text, timestamp } from './columns.ts';

/** The single row with the sweeper's lease, marks and heartbeat. */
export const Sweeper = defineEntity({
  name: 'Sweeper',
  tableName: 'sweeper',
  properties: {
    id: p.smallint().columnType('smallint').primary().autoincrement(false),
    holder: text().default(''),
    pass: bigint().defaultRaw('0'),
    until: timestamp().defaultRaw(`'-infinity'`),
    watermark: timestamp().defaultRaw(`'-infinity'`),
    cursors: jsonText().defaultRaw(`'{}'`),
    lastSuccessAt: timestamp().nullable(),
    reclaimerSuccessAt: timestamp().nullable(),
    passesByReclaimer: bigint().defaultRaw('0'),
    passesByWorker: bigint().defaultRaw('0'),
    passesByApi: bigint().defaultRaw('0'),
    tasksReclaimed: bigint().defaultRaw('0'),
    reconciledWatermark: bigint().defaultRaw('0'),
    reconciledScan: bigint().defaultRaw('0'),
    reconciledRebuild: bigint().defaultRaw('0'),
    reconciledClaim: bigint().defaultRaw('0'),
    reconciledStale: bigint().defaultRaw('0'),
    tasksBuried: bigint().defaultRaw('0'),
    dutyFailures: jsonText().defaultRaw(`'{}'`),
  },
  checks: [{ name: 'sweeper_id_check', property: 'id', expression: 'id = 1' }],
});
