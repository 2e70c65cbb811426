import { defineEntity, p } from '@mikro-orm/postgresql';
import { text } from '../columns.ts';

/** A member of a submission's metadata, by which lists find the task. The table is partitioned by id. */
export const MetadataPair = defineEntity({
  name: 'MetadataPair',
  tableName: 'metadata_pairs',
  properties: {
    name: text().collation('C').primary(),
    /** The first 200 characters of the value. */
    value: text().collation('C').primary(),
    id: p.uuid().primary(),
  },
});
