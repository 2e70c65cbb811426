import { p } from '@mikro-orm/postgresql';

/** `timestamptz` in PostgreSQL's text format. A Date would drop the microseconds that page cursors compare. */
export const timestamp = () => p.string().columnType('timestamptz');

/** `json` as unparsed text. Parsing would change numbers beyond double precision. */
export const jsonText = () => p.string().columnType('json');

/** `bigint` for milliseconds and counts, which all fit a double. */
export const bigint = () => p.bigint('number').columnType('bigint');

export const text = () => p.string().columnType('text');
