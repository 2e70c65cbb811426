/** Converts a `timestamptz` from PostgreSQL's text format to ISO 8601 with milliseconds. */
export function isoTime(text: string): string;
export function isoTime(text: string | null): string | null;
export function isoTime(text: string | null): string | null {
  return text === null ? null : new Date(text).toISOString();
}
