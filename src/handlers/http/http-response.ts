import { TextDecoder } from 'node:util';
import { storableText } from '../../core/errors.ts';
import { RESULT_MAX_BYTES } from '../../core/outcome.ts';
import { startWithinJsonBytes } from '../../json/json-bytes.ts';

/** The part of a response that is kept as the result of the attempt. */
export interface KeptResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The beginning of the body as text; null for a compressed body. */
  readonly body: string | null;
  /** Whether the kept body is incomplete, because it was longer or it broke off. */
  readonly truncated: boolean;
}

/** The parts of an incoming response that this module reads. */
export interface IncomingResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** The headers that are kept. Others may contain cookies and credentials. */
const KEPT_HEADERS = [
  'content-encoding',
  'content-length',
  'content-type',
  'date',
  'etag',
  'last-modified',
  'location',
  'retry-after',
  'x-request-id',
  'x-trace-id',
] as const;
const HEADER_LIMIT = 1_000;

/** Download no more than this. It fills a result even if the charset is UTF-16, which has two bytes per character. */
const READ_MAX_BYTES = 2 * RESULT_MAX_BYTES;

/**
 * Reads at most `maxBytes` of the body; the rest is not downloaded. The kept response fits into a result. More of the
 * body may be cut for that, because a text grows when it is written as JSON: a control character from one byte to six.
 * @returns the kept response, and the error that interrupted the body, if there was one
 */
export async function readResponse(
  response: IncomingResponse,
  maxBytes: number,
): Promise<{ kept: KeptResponse; broken: unknown }> {
  const { bytes, truncated, broken } = await readStart(response.body, Math.min(maxBytes, READ_MAX_BYTES));
  const compressed = !['', 'identity'].includes(headerOf(response, 'content-encoding').trim().toLowerCase());
  const text = compressed ? null : decode(bytes, headerOf(response, 'content-type'), truncated);
  const kept = fitting({ status: response.statusCode, headers: keptHeaders(response), body: text, truncated });
  return { kept, broken };
}

/** Cuts the body so that the whole response is within the limit of a result. */
function fitting(response: KeptResponse): KeptResponse {
  if (response.body === null) return response;
  const besides = Buffer.byteLength(JSON.stringify({ ...response, body: '' }));
  const body = startWithinJsonBytes(response.body, RESULT_MAX_BYTES - besides);
  return { ...response, body, truncated: response.truncated || body.length < response.body.length };
}

/**
 * Returns the milliseconds of a `Retry-After` header (RFC 9110, 10.2.3: seconds or a
 * date); undefined if it is missing or invalid.
 */
export function retryAfterMs(response: IncomingResponse, nowMs: number, maxMs: number): number | undefined {
  const text = headerOf(response, 'retry-after').trim();
  if (/^\d+$/.test(text)) return Math.min(maxMs, Number(text) * 1_000);
  // A date begins with the name of a day. Date.parse alone would read "-5" and "1.5" as dates.
  const dateMs = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(inGmt(text)) : Number.NaN;
  return Number.isNaN(dateMs) ? undefined : Math.min(maxMs, Math.max(0, dateMs - nowMs));
}

/** Adds GMT to a date in the form of `asctime`, which HTTP also allows. Date.parse would take it as local time. */
function inGmt(date: string): string {
  return /\b\d{4}$/.test(date) ? `${date} GMT` : date;
}

async function readStart(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<{ bytes: Buffer; truncated: boolean; broken: unknown }> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  let broken: unknown;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      length += chunk.length;
      // Leaving the loop destroys the stream and the connection.
      if (length > maxBytes) break;
    }
  } catch (error) {
    broken = error;
  }
  return {
    bytes: Buffer.concat(chunks).subarray(0, maxBytes),
    truncated: length > maxBytes || broken !== undefined,
    broken,
  };
}

function decode(bytes: Buffer, contentType: string, truncated: boolean): string {
  const charset = /charset="?([^\s;"]+)/i.exec(contentType)?.[1] ?? 'utf-8';
  // With `stream`, the decoder drops an incomplete character at the end of a cut body.
  return storableText(decoderOf(charset).decode(bytes, { stream: truncated }), Number.POSITIVE_INFINITY);
}

function decoderOf(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset);
  } catch {
    return new TextDecoder();
  }
}

function keptHeaders(response: IncomingResponse): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = headerOf(response, name);
    if (value !== '') kept[name] = storableText(value, HEADER_LIMIT);
  }
  return kept;
}

function headerOf(response: IncomingResponse, name: string): string {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}
