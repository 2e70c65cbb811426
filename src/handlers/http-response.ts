import { TextDecoder } from 'node:util';
import { storableText } from '../core/errors.ts';
import { startWithinJsonBytes } from '../json/json-bytes.ts';
import { RESULT_MAX_BYTES } from '../core/outcome.ts';

/** What is kept of a response, as the result of its attempt. */
export interface KeptResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The beginning of the body as text; null for one that is compressed. */
  readonly body: string | null;
  /** Whether the body goes on after what is kept: it was longer, or it broke off. */
  readonly truncated: boolean;
}

/** An incoming response, as far as it is read here. */
export interface IncomingResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Others may carry cookies and credentials. */
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

/** What no charset can make into more JSON than may be kept is not downloaded: of UTF-16, half is left. */
const READ_MAX_BYTES = 2 * RESULT_MAX_BYTES;

/**
 * Reads at most `maxBytes` of the body; the rest is not downloaded. What is kept fits into a result: a text
 * grows when it is written as JSON, a control character from one byte to six, so more of it may be cut.
 * @returns what is kept, and the error that broke the body off, if one did
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

/** Cuts the body so far that the whole is within the limit of a result. */
function fitting(response: KeptResponse): KeptResponse {
  if (response.body === null) return response;
  const besides = Buffer.byteLength(JSON.stringify({ ...response, body: '' }));
  const body = startWithinJsonBytes(response.body, RESULT_MAX_BYTES - besides);
  return { ...response, body, truncated: response.truncated || body.length < response.body.length };
}

/**
 * Milliseconds that a `Retry-After` asks for (RFC 9110, 10.2.3: seconds or a
 * date); undefined if there is none or it makes no sense.
 */
export function retryAfterMs(response: IncomingResponse, nowMs: number, maxMs: number): number | undefined {
  const text = headerOf(response, 'retry-after').trim();
  if (/^\d+$/.test(text)) return Math.min(maxMs, Number(text) * 1_000);
  // A date begins with the name of a day; Date.parse alone would take "-5" and "1.5" for years.
  const dateMs = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(inGmt(text)) : Number.NaN;
  return Number.isNaN(dateMs) ? undefined : Math.min(maxMs, Math.max(0, dateMs - nowMs));
}

/** The form of `asctime`, which HTTP allows too, names no zone; Date.parse would take it for local time. */
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
      // Leaving the loop destroys the stream, and with it the connection.
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
  // As a stream, the decoder drops the half character that a cut may leave at the end.
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
