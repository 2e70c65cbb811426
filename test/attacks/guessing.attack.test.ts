import { randomBytes, randomInt } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeSecret } from '../../src/core/access/secret.ts';
import { createTestStores } from '../harness/stores.ts';
import { bearerLine, besiege, secretOfClient, type BesiegedApi, type Loot } from './besieged-api.ts';
import { forgeSecret, idOf, randomOf, withOther } from './forged-secrets.ts';

/** Attackers who try keys: many of them, or by how long the answer takes. */
const CLIENTS = { shop: {}, owner: { role: 'admin' } } as const;
let api: BesiegedApi;
beforeAll(async () => {
  api = await besiege(await createTestStores(), CLIENTS);
});

const PER_MINUTE = 100;

/** Sends a key from an address of this machine. */
const tryKey = (key: string, from: string, ...more: string[]): Promise<Loot> =>
  api.sendRaw(['GET /clients/self HTTP/1.1', `Host: 127.0.0.1:${api.port}`, bearerLine(key), ...more], { from });

describe('many wrong keys', () => {
  it('slow their address down, whatever headers say, but neither a right key nor other addresses', async () => {
    const started = performance.now();
    const statuses: Record<string, number> = {};
    for (let sent = 0; sent < 250; sent += 50) {
      const tries = Array.from({ length: 50 }, (_, i) => {
        const address = `198.51.100.${sent + i}`;
        const claims = [`X-Forwarded-For: ${address}`, `Forwarded: for=${address}`, `X-Real-IP: ${address}`];
        return tryKey(`wrong-key-of-${sent + i}`, '127.0.0.2', ...claims);
      });
      for (const { status, text } of await Promise.all(tries)) {
        statuses[status] = (statuses[status] ?? 0) + 1;
        if (status === 429) expect(text).toMatch(/^Retry-After: [1-9]/im);
      }
      // A right key is never slowed down, also in the middle of the attack and from the same address.
      expect((await tryKey(secretOfClient('shop'), '127.0.0.2')).status).toBe(200);
    }
    const refilled = Math.ceil(((performance.now() - started) / 60_000) * PER_MINUTE);
    expect(Object.keys(statuses)).toEqual(['401', '429']);
    expect(statuses['401']).toBeGreaterThanOrEqual(PER_MINUTE);
    expect(statuses['401']).toBeLessThanOrEqual(PER_MINUTE + refilled);

    expect((await tryKey('a wrong key of a neighbour', '127.0.0.3')).status).toBe(401);
    expect((await tryKey(secretOfClient('shop'), '127.0.0.3')).status).toBe(200);
    const limits = await Promise.all(Array.from({ length: 20 }, () => tryKey(secretOfClient('shop'), '127.0.0.2')));
    expect(limits.map(({ status }) => status)).toEqual(limits.map(() => 200));
  });
});

describe('the time of an answer', () => {
  interface Series {
    readonly one: string;
    readonly other: string;
    readonly pairs: number;
    /** Pairs that are sent at the same time. */
    readonly atOnce: number;
  }

  /**
   * Sends pairs of two wrong keys at the same time, in an order that chance decides. Returns how often the first key
   * was answered first. If both take equally long, each pair is a fair coin, whatever the load of the machine. The coins
   * are independent, although pairs share the machine and the API: which of two requests wins may depend on everything
   * around them, but not on the coin that decided which key it carries.
   */
  async function firstOf({ one, other, pairs, atOnce }: Series): Promise<number> {
    let wins = 0;
    const sendPair = async (): Promise<void> => {
      const answered: string[] = [];
      const ask = async (key: string): Promise<void> => {
        const { status } = await api.send({ authorization: `Bearer ${key}` }, 'GET', '/clients/self');
        expect([401, 429]).toContain(status);
        answered.push(key);
      };
      await Promise.all((randomInt(2) === 0 ? [one, other] : [other, one]).map(ask));
      if (answered[0] === one) wins++;
    };
    for (let sent = 0; sent < pairs; sent += atOnce) await Promise.all(Array.from({ length: atOnce }, sendPair));
    return wins;
  }

  /** Six standard deviations of the number of heads: fair coins never differ by more. */
  const noiseOf = (pairs: number): number => 6 * Math.sqrt(pairs / 4);

  it('does not tell whether the first or the last character of a key is wrong', async () => {
    const right = secretOfClient('shop');
    const [one, other] = [withOther(right, 0), withOther(right, right.length - 1)];
    const wins = await firstOf({ one, other, pairs: 2_000, atOnce: 20 });
    expect(Math.abs(wins - 1_000)).toBeLessThan(noiseOf(2_000));
  });

  it('does not tell whether an id exists, or how much of its secret is right', async () => {
    const made = await api.send('owner', 'POST', '/clients', { name: 'made', role: 'viewer' });
    const [id, random] = [idOf(made.body.secret), randomOf(made.body.secret)];
    const unknown = makeSecret(randomBytes).text;
    const nearly = forgeSecret(id, withOther(random, random.length - 1));
    const notAtAll = forgeSecret(id, withOther(random, 0));
    // Unknown secrets wait together for a look at newer clients, so a few large rounds take less time than many small
    // ones.
    for (const [one, other] of [
      [unknown, nearly],
      [notAtAll, nearly],
    ] as const) {
      const wins = await firstOf({ one, other, pairs: 400, atOnce: 100 });
      expect(Math.abs(wins - 200)).toBeLessThan(noiseOf(400));
    }
  });
});
