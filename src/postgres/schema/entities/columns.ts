import { p } from '@mikro-orm/postgresql';

/** `timestamptz` as PostgreSQL writes it: a Date would cut the microseconds that page cursors compare. */
export const timestamp = () => p.string().columnType('timestamptz');

/** `json` as it was given: parsing would change numbers beyond double precision. */
export const jsonText = () => p.string().columnType('json');

/** `bigint` of milliseconds and counts, which all fit a double. */
export const bigint = () => p.bigint('number').columnType('bigint');

export const text = () => p.string().columnType('text');
