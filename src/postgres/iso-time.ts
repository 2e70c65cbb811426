/** A `timestamptz` as PostgreSQL writes it, in ISO 8601 with milliseconds. */
export function isoTime(text: string): string;
export function isoTime(text: string | null): string | null;
export function isoTime(text: string | null): string | null {
  return text === null ? null : new Date(text).toISOString();
}
