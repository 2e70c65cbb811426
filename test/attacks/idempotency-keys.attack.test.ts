import { randomUUID } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { as } from '../harness/clients.ts';
import { createTestStores } from '../harness/stores.ts';
import { besiege, type BesiegedApi, type Loot } from './besieged-api.ts';

/**
 * Idempotency keys are often guessable: `order-4711`. A squatter uses the key of a victim in the same queue, before or
 * after the victim does. Each gets a task of their own, and nothing of the other's.
 */
const CLIENTS = { victim: {}, squatter: {}, 'squatter-2': { queues: ['shared'] } } as const;
type Name = keyof typeof CLIENTS;

let api: BesiegedApi;
beforeAll(async () => {
  api = await besiege(await createTestStores(), CLIENTS);
});

const submit = (name: Name, key: string, payload: unknown, queue = 'shared'): Promise<Loot> =>
  api.send({ ...as(name), 'idempotency-key': key }, 'POST', '/tasks', { payload, queue, delay: 3_600 });

const submitBatch = (name: Name, keys: readonly string[], payload: unknown): Promise<Loot> =>
  api.send(name, 'POST', '/tasks/batch', {
    tasks: keys.map((key) => ({ payload, queue: 'shared', delay: 3_600, idempotency_key: key })),
  });

/** Whom tasks belong to, as the database has it. */
async function ownersOf(ids: readonly string[]): Promise<string[]> {
  const rows = await api.rows<{ id: string; client: string }>(
    'SELECT id, client FROM submissions WHERE id = ANY ($1)',
    [ids],
  );
  return ids.map((id) => rows.find((row) => row.id === id)?.client ?? 'nobody');
}

it.each([
  ['the same content', 'of-the-victim'],
  ['other content', 'of-the-squatter'],
])('a key that was used before is free for another client, with %s', async (_, payload) => {
  const key = randomUUID();
  const first = await submit('victim', key, 'of-the-victim');
  const second = await submit('squatter', key, payload);
  expect([first.status, second.status]).toEqual([200, 200]);
  expect(second.text).not.toContain(first.body.id);
  if (payload !== 'of-the-victim') expect(second.text).not.toContain('of-the-victim');
  expect(await ownersOf([first.body.id, second.body.id])).toEqual(['victim', 'squatter']);

  // Each repeats its own request, and gets its own answer again.
  expect((await submit('victim', key, 'of-the-victim')).body.id).toBe(first.body.id);
  expect((await submit('squatter', key, payload)).body.id).toBe(second.body.id);
  // Headers that tell a repetition must not tell that another client used the key.
  const fresh = await submit('squatter-2', randomUUID(), payload);
  const names = ({ text }: Loot): string[] => [...text.matchAll(/^([a-z-]+):/gm)].map(([, name = '']) => name);
  expect(names(second)).toEqual(names(fresh));
});

it('a squatter who comes first does not keep the victim from submitting', async () => {
  const keys = Array.from({ length: 20 }, (_, i) => `order-${i}`);
  const squatted = await submitBatch('squatter', keys, 'of-the-squatter');
  const own = await submitBatch('victim', keys, 'of-the-victim');
  expect([squatted.status, own.status]).toEqual([200, 200]);
  expect(own.text).not.toContain('of-the-squatter');
  const ids = (loot: Loot): string[] => loot.body.tasks.map(({ id }: { id: string }) => id);
  expect(new Set([...ids(squatted), ...ids(own)]).size).toBe(40);
  expect(new Set(await ownersOf(ids(own)))).toEqual(new Set(['victim']));
  // A single submission and one in a batch share the keys of their client only.
  expect((await submit('squatter', 'order-1', 'of-the-squatter')).body.id).toBe(ids(squatted)[1]);
  expect((await submit('victim', 'order-1', 'of-the-victim')).body.id).toBe(ids(own)[1]);
});

it('clients that use one key at the same moment get one task each', async () => {
  const key = randomUUID();
  const names = Array.from({ length: 30 }, (_, i) => (['victim', 'squatter', 'squatter-2'] as const)[i % 3] as Name);
  const answers = await Promise.all(names.map((name) => submit(name, key, `of-${name}`)));
  expect(answers.map(({ status }) => status)).toEqual(names.map(() => 200));
  const byName = Map.groupBy(answers, (_, i) => names[i]);
  const ids = [...byName.values()].map((own) => [...new Set(own.map(({ body }) => body.id as string))]);
  expect(ids.map((own) => own.length)).toEqual([1, 1, 1]);
  expect(await ownersOf(ids.flat())).toEqual([...byName.keys()]);
  for (const [i, { body }] of answers.entries()) expect(body.payload).toBe(`of-${names[i]}`);
});

it('names of clients, queues and keys do not run into each other', async () => {
  const one = await submit('squatter', '2:x', 1);
  const others = await Promise.all([
    submit('squatter-2', 'x', 1),
    submit('squatter-2', ':x', 1),
    submit('squatter', '2:x', 1, 'shared.2'),
    submit('squatter', 'x', 1, 'shared'),
    submit('squatter', '2:X', 1),
  ]);
  const ids = [one, ...others].map(({ body }) => body.id as string);
  expect(new Set(ids).size).toBe(ids.length);
});

it('a filter by a key finds no task of a queue that the client may not use, and shows no contents', async () => {
  const key = randomUUID();
  const hidden = await submit('victim', key, 'of-the-victim', 'private');
  const found = async (name: Name): Promise<Loot> => api.send(name, 'GET', `/tasks?idempotency_key=${key}`);
  expect((await found('squatter-2')).body.items).toEqual([]);
  const seen = await found('victim');
  expect(seen.body.items.map(({ id }: { id: string }) => id)).toEqual([hidden.body.id]);
  expect(seen.text).not.toContain('of-the-victim');
});
