import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint } from '../columns.ts';

/** The single row that tells API processes whether any client or secret has changed. */
export const ClientsVersion = defineEntity({
  name: 'ClientsVersion',
  tableName: 'clients_version',
  properties: {
    id: p.smallint().columnType('smallint').primary().autoincrement(false),
    version: bigint().defaultRaw('1'),
  },
  checks: [{ name: 'clients_version_id_check', property: 'id', expression: 'id = 1' }],
});
