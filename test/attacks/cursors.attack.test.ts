import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { createTestStores } from '../harness/stores.ts';
import { besiege, type BesiegedApi } from './besieged-api.ts';

/**
 * A cursor says where a list goes on. Whoever could make or change one could read from another place or another list.
 */
const CLIENTS = {
  mine: { scopes: ['submit', 'read', 'payload', 'operate'], queues: ['mine'] },
  theirs: { scopes: ['submit', 'read', 'payload', 'operate'], queues: ['theirs'] },
  owner: { role: 'admin' },
} as const;

let api: BesiegedApi;
let cursor: string;

async function submitSome(target: BesiegedApi): Promise<void> {
  for (const queue of ['mine', 'theirs'] as const) {
    const tasks = Array.from({ length: 6 }, (_, i) => ({ payload: `of-${queue}-${i}`, queue, delay: 3_600 }));
    expect((await target.send(queue, 'POST', '/tasks/batch', { tasks })).status).toBe(200);
  }
}

/** The cursor after the first two tasks of a client. */
async function cursorOf(target: BesiegedApi, name: string, path = '/tasks?limit=2'): Promise<string> {
  const { status, body } = await target.send(name, 'GET', path);
  expect([status, typeof body.next_cursor]).toEqual([200, 'string']);
  return body.next_cursor as string;
}

/** Returns the cursors that were not refused, with the status that they got. */
async function accepted(cursors: readonly string[], name = 'mine', path = '/tasks?limit=2'): Promise<string[]> {
  const outcomes: string[] = [];
  for (let i = 0; i < cursors.length; i += 50) {
    const answers = cursors.slice(i, i + 50).map(async (given) => {
      const { status, body } = await api.send(name, 'GET', `${path}&cursor=${encodeURIComponent(given)}`);
      const refused =
        (status === 409 && body.code === 'invalid_cursor') || (status === 422 && body.errors !== undefined);
      return refused ? [] : [`${status} ${given}`];
    });
    outcomes.push(...(await Promise.all(answers)).flat());
  }
  return outcomes;
}

/** All parts of a text with this length. */
const runsOf = (text: string, length: number): string[] =>
  Array.from({ length: text.length - length + 1 }, (_, i) => text.slice(i, i + length));

beforeAll(async () => {
  api = await besiege(await createTestStores(), CLIENTS);
  await submitSome(api);
  cursor = await cursorOf(api, 'mine');
});

describe('a cursor that was changed', () => {
  it('is refused, whichever bit was flipped', async () => {
    const bytes = Buffer.from(cursor, 'base64url');
    const flipped = Array.from({ length: bytes.length * 8 }, (_, bit) => {
      const copy = Buffer.from(bytes);
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      return copy.toString('base64url');
    });
    expect(await accepted(flipped)).toEqual([]);
    expect((await api.send('mine', 'GET', `/tasks?limit=2&cursor=${cursor}`)).status).toBe(200);
  });

  it('is refused, wherever it was cut, and with anything added', async () => {
    const cut = Array.from({ length: cursor.length - 1 }, (_, i) => cursor.slice(0, i + 1));
    const bytes = Buffer.from(cursor, 'base64url');
    const longer = [Buffer.concat([bytes, Buffer.from([0])]), Buffer.concat([bytes, bytes])];
    const spellings = [
      `${cursor}=`,
      `${cursor}\0`,
      ` ${cursor}`,
      cursor.toLowerCase(),
      `${cursor}\n`,
      `${cursor},${cursor}`,
    ];
    expect(await accepted([...cut, ...longer.map((b) => b.toString('base64url')), ...spellings])).toEqual([]);
  });
});

describe('a cursor that was forged', () => {
  it('is refused: random bytes, and positions that are not encrypted', async () => {
    const size = Buffer.from(cursor, 'base64url').length;
    const random = Array.from({ length: 100 }, () =>
      Buffer.concat([Buffer.from([1]), randomBytes(size - 1)]).toString('base64url'),
    );
    const plain = [{ id: '00000000-0000-0000-0000-000000000000' }, { id: null }, {}, [], 0].map((position) =>
      Buffer.concat([Buffer.alloc(13, 1), Buffer.from(JSON.stringify(position)), Buffer.alloc(16)]).toString(
        'base64url',
      ),
    );
    const simple = ['0', '-1', '2', 'null', "' OR 1=1 --", '019a5b3c-8f00-7000-8000-0123456789ab'];
    expect(await accepted([...random, ...plain, ...simple])).toEqual([]);
  });

  it('is refused if it comes from another installation, which has another key', async () => {
    const elsewhere = await createTestStores();
    // All databases of the tests are copies of one, with its key.
    await withConnection(elsewhere.databaseUrl, (client) =>
      client.query(`UPDATE sealing_keys SET key = $1 WHERE name = 'cursors'`, [randomBytes(32)]),
    );
    const other = await besiege(elsewhere, CLIENTS);
    await submitSome(other);
    expect(await accepted([await cursorOf(other, 'mine')])).toEqual([]);
  });

  it('does not show where it leads', async () => {
    const { body } = await api.send('mine', 'GET', '/tasks?limit=2');
    const bytes = Buffer.from(body.next_cursor as string, 'base64url');
    const text = bytes.toString('latin1');
    // A single character of a position may be there by chance, four in a row are not.
    for (const { id } of body.items as { id: string }[]) {
      const raw = Buffer.from(id.replaceAll('-', ''), 'hex').toString('latin1');
      for (const shown of [id, raw, Buffer.from(id).toString('base64url'), JSON.stringify({ id })])
        expect(runsOf(shown, 4).filter((run) => text.includes(run))).toEqual([]);
    }
    expect(text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}/);
  });

  it('looks different each time, so that nobody sees who was led to the same place', async () => {
    const [one, other] = await Promise.all([cursorOf(api, 'mine'), cursorOf(api, 'mine')]);
    const [bytes, others] = [one, other].map((text) => Buffer.from(text, 'base64url').subarray(1).toString('latin1'));
    expect(runsOf(bytes as string, 4).filter((run) => others?.includes(run))).toEqual([]);
  });
});

describe('a cursor of another request', () => {
  it('is refused by other routes', async () => {
    for (const path of ['/dlq?limit=2', '/clients?limit=2', '/audit?limit=2'])
      expect([path, await accepted([cursor], 'owner', path)]).toEqual([path, []]);
    const { body } = await api.send('owner', 'POST', '/dlq/requeue', { filter: {}, cursor });
    expect(body.code).toBe('invalid_cursor');
  });

  it('is refused with another filter', async () => {
    for (const filter of ['status=SCHEDULED', 'queue=mine', 'queue=theirs', 'trace_id=x', 'priority=Medium']) {
      const path = `/tasks?limit=2&${filter}`;
      expect([path, await accepted([cursor], 'mine', path)]).toEqual([path, []]);
    }
    const narrow = await cursorOf(api, 'theirs', '/tasks?limit=2&queue=theirs');
    expect(await accepted([narrow], 'theirs')).toEqual([]);
  });
});

describe('a cursor of another client', () => {
  it('shows to whoever follows it only what is theirs', async () => {
    for (const from of ['theirs', 'owner']) {
      const foreign = await cursorOf(api, from, '/tasks?limit=1');
      for (let next: string | null = foreign; next !== null;) {
        const { status, text, body } = await api.send('mine', 'GET', `/tasks?limit=1&cursor=${next}`);
        expect(status).toBe(200);
        expect(text).not.toContain('theirs');
        next = body.next_cursor as string | null;
      }
    }
  });
});
