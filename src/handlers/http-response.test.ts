import { describe, expect, it } from 'vitest';
import { readResponse, retryAfterMs, type IncomingResponse } from './http-response.ts';

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

  it('decodes the charset that the response names, and takes UTF-8 for one that nobody knows', async () => {
    const latin = response({ 'content-type': 'text/plain; charset="iso-8859-1"' }, Buffer.from([0xe9]));
    expect((await readResponse(latin, 10)).kept.body).toBe('é');
    expect((await readResponse(response({ 'content-type': 'text/plain; charset=klingon' }, 'é'), 10)).kept.body).toBe(
      'é',
    );
  });

  it('keeps no text of a compressed body', async () => {
    expect((await readResponse(response({ 'content-encoding': 'gzip' }, 'xx'), 10)).kept.body).toBeNull();
  });

  it('keeps the headers of its list only', async () => {
    const { kept } = await readResponse(
      response({ 'set-cookie': ['session=1'], etag: '"1"', 'x-request-id': ['a', 'b'], authorization: 'x' }),
      10,
    );
    expect(kept.headers).toEqual({ etag: '"1"', 'x-request-id': 'a, b' });
  });

  it('keeps what came before a body broke off, and tells what broke it', async () => {
    const failure = new Error('reset');
    async function* body() {
      yield Buffer.from('half');
      throw failure;
    }
    const { kept, broken } = await readResponse({ statusCode: 200, headers: {}, body: body() }, 10);
    expect(kept).toMatchObject({ body: 'half', truncated: true });
    expect(broken).toBe(failure);
  });
});
