import { defineEntity, p } from '@mikro-orm/postgresql';
import { timestamp } from './columns.ts';

/** What the sweeper knows about a past day that still has partitions. */
export const PastDay = defineEntity({
  name: 'PastDay',
  tableName: 'past_days',
  properties: {
    day: p.string().columnType('date').primary(),
    lookedAt: timestamp(),
    lookAgainAt: timestamp(),
    surveyedSince: timestamp(),
    surveyedTo: p.uuid().nullable(),
    held: p.integer().nullable(),
    lasting: p.integer().nullable(),
    staying: p.array().columnType('uuid[]'),
  },
});
