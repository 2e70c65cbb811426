import { describe, expect, it } from 'vitest';
import { RESULT_MAX_BYTES } from '../../core/outcome.ts';
import { readResponse, retryAfterMs, type IncomingResponse, type KeptResponse } from './http-response.ts';

const HOUR = 3_600_000;
const now = Date.parse('2026-11-20T12:00:00Z');

function response(headers: IncomingResponse['headers'], ...chunks: (string | Uint8Array)[]): IncomingResponse {
  async function* body() {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  return { statusCode: 200, headers, body: body() };
}

describe('retryAfterMs', () => {
  it.each([
    ['0', 0],
    ['120', 120_000],
    [' 5 ', 5_000],
    ['99999999999', HOUR],
    ['Fri, 20 Nov 2026 12:00:30 GMT', 30_000],
    ['Fri, 20 Nov 2026 11:00:00 GMT', 0],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['Friday, 20-Nov-26 12:00:30 GMT', 30_000],
    ['Fri Nov 20 12:00:30 2026', 30_000],
    ['9'.repeat(400), HOUR],
    ['Fri, 99 Nov 2026 12:00:30 GMT', undefined],
    ['0x10', undefined],
    ['+5', undefined],
    ['Sat, 21 Nov 2026 12:00:00 GMT', HOUR],
    ['-5', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['Sometime', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('reads %j as %s ms', (text, expected) => {
    expect(retryAfterMs(response({ 'retry-after': text }), now, HOUR)).toBe(expected);
  });
});

describe('readResponse', () => {
  it.each([
    ['shorter', ['ab'], 'ab', false],
    ['exactly as long', ['ab', 'cd'], 'abcd', false],
    ['longer', ['ab', 'cde'], 'abcd', true],
    ['a character cut in two', ['abc', 'é!'], 'abc', true],
    ['what PostgreSQL refuses', ['a\0b'], 'a\u{FFFD}b', false],
    ['not UTF-8', [Buffer.from([0x61, 0xff])], 'a\u{FFFD}', false],
  ])('keeps the beginning of a body: %s', async (_, chunks, body, truncated) => {
    const { kept } = await readResponse(response({}, ...chunks), 4);
    expect(kept).toMatchObject({ body, truncated });
  });

  it('decodes the charset that the response names, and uses UTF-8 for an unknown one', async () => {
    const latin = response({ 'content-type': 'text/plain; charset="iso-8859-1"' }, Buffer.from([0xe9]));
    expect((await readResponse(latin, 10)).kept.body).toBe('é');
    expect((await readResponse(response({ 'content-type': 'text/plain; charset=klingon' }, 'é'), 10)).kept.body).toBe(
      'é',
    );
  });

  it('keeps no text of a compressed body', async () => {
    expect((await readResponse(response({ 'content-encoding': 'gzip' }, 'xx'), 10)).kept.body).toBeNull();
  });

  it('keeps only the headers of its list', async () => {
    const { kept } = await readResponse(
      response({ 'set-cookie': ['session=1'], etag: '"1"', 'x-request-id': ['a', 'b'], authorization: 'x' }),
      10,
    );
    expect(kept.headers).toEqual({ etag: '"1"', 'x-request-id': 'a, b' });
  });

  it('keeps the part of a body that came before it broke off, and returns the error', async () => {
    const failure = new Error('reset');
    async function* body() {
      yield Buffer.from('half');
      throw failure;
    }
    const { kept, broken } = await readResponse({ statusCode: 200, headers: {}, body: body() }, 10);
    expect(kept).toMatchObject({ body: 'half', truncated: true });
    expect(broken).toBe(failure);
  });

  const controls = '\u0001'.repeat(60_000);
  const storedBytes = (kept: KeptResponse): number => Buffer.byteLength(JSON.stringify(kept));

  it.each<[string, IncomingResponse['headers'], string | Uint8Array]>([
    ['control characters', {}, controls],
    ['NUL characters', {}, '\0'.repeat(200_000)],
    ['quotes', {}, '"'.repeat(200_000)],
    ['what is not UTF-8', {}, Buffer.alloc(200_000, 0xff)],
    ['characters beyond the basic plane', {}, `x${'😀'.repeat(100_000)}`],
    ['UTF-16', { 'content-type': 'text/plain; charset=utf-16le' }, Buffer.alloc(600_000, 'é', 'utf16le')],
    [
      'lone surrogates',
      { 'content-type': 'text/plain; charset=utf-16le' },
      Buffer.alloc(600_000, Buffer.from([0, 0xd8])),
    ],
    [
      'plain text, and long headers',
      { etag: '"'.repeat(2_000), location: '\u0080'.repeat(2_000) },
      'x'.repeat(300_000),
    ],
  ])('cuts %s to the size of a result', async (_, headers, body) => {
    const { kept } = await readResponse(response(headers, body), 16_777_216);
    expect(kept.truncated).toBe(true);
    expect(kept.body).toSatisfy((text: string) => text.isWellFormed() && !text.includes('\0'));
    expect(storedBytes(kept)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
    expect(storedBytes(kept)).toBeGreaterThan(RESULT_MAX_BYTES - 10);
  });

  it('keeps a body that just fits, and cuts a body that is one byte longer', async () => {
    const besides = storedBytes({ status: 200, headers: {}, body: '', truncated: false });
    const fits = 'x'.repeat(RESULT_MAX_BYTES - besides);
    expect((await readResponse(response({}, fits), 16_777_216)).kept).toMatchObject({ body: fits, truncated: false });
    const { kept } = await readResponse(response({}, `${fits}x`), 16_777_216);
    expect(kept.truncated).toBe(true);
    expect(storedBytes(kept)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
  });

  it('does not download more than can be kept, even if the setting allows more', async () => {
    let sent = 0;
    async function* endless() {
      for (; ; sent += 65_536) yield Buffer.alloc(65_536, 'x');
    }
    await readResponse({ statusCode: 200, headers: {}, body: endless() }, 16_777_216);
    expect(sent).toBeLessThan(1_000_000);
  });
});
