import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { createSeal } from '../../../http/seal.ts';
import { createLoginStates, NO_LOGIN_COOKIE } from './login-state.ts';

const key = randomBytes(32);
const seal = createSeal(async () => key);
const provider = { issuer: 'https://login.example.org', client: 'scheduler' };
const MINUTES = 60_000;

it('a login is kept by the browser that began it, and any process can read it', async () => {
  const { state, cookie } = await createLoginStates(seal, provider).begin('/ui/tasks');
  expect(cookie).toMatch(/^__Host-scheduler-login=[\w-]+; Max-Age=600; Path=\/; Secure; HttpOnly; SameSite=Lax$/);
  for (const text of [state.verifier, state.state, state.nonce, 'tasks']) expect(cookie).not.toContain(text);
  expect(new Set([state.verifier, state.state, state.nonce]).size).toBe(3);

  const elsewhere = createLoginStates(
    createSeal(async () => key),
    provider,
  );
  const [pair] = cookie.split(';');
  expect(await elsewhere.read(`other=1; ${pair}; last=2`)).toEqual(state);
});

it('a cookie that ends the login has the attributes of the one that began it', () => {
  expect(NO_LOGIN_COOKIE).toBe('__Host-scheduler-login=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax');
});

it('no two logins have anything in common', async () => {
  const states = createLoginStates(seal, provider);
  const [one, other] = [await states.begin('/'), await states.begin('/')];
  expect(one.cookie).not.toBe(other.cookie);
  expect(one.state.state).not.toBe(other.state.state);
});

it('ends after ten minutes, whatever the browser thinks', async () => {
  let nowMs = 1_000_000;
  const states = createLoginStates(seal, provider, () => nowMs);
  const [pair] = (await states.begin('/')).cookie.split(';');
  nowMs += 10 * MINUTES - 1;
  expect(await states.read(pair)).toMatchObject({ returnTo: '/' });
  nowMs += 1;
  expect(await states.read(pair)).toBe('expired');
});

it('cannot be read if anything about it was changed, or if it belongs to another provider', async () => {
  const states = createLoginStates(seal, provider);
  const [pair = ''] = (await states.begin('/ui')).cookie.split(';');
  const [name, value = ''] = pair.split('=');
  const bytes = Buffer.from(value, 'base64url');
  for (let at = 0; at < bytes.length; at += 7) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 1;
    expect(await states.read(`${name}=${changed.toString('base64url')}`)).toBe('unreadable');
  }
  for (const text of [value.slice(0, -4), `${value}AAAA`, 'x', 'a'.repeat(5_000), '%00']) {
    expect(await states.read(`${name}=${text}`)).toBe('unreadable');
  }
  expect(await createLoginStates(seal, { ...provider, client: 'other' }).read(pair)).toBe('unreadable');
  expect(
    await createLoginStates(
      createSeal(async () => randomBytes(32)),
      provider,
    ).read(pair),
  ).toBe('unreadable');
  // A cursor is sealed as well, under another key; even under the same one it would not be a login.
  expect(await states.read(`${name}=${await seal.seal(['GET /tasks', {}], { returnTo: '/' })}`)).toBe('unreadable');
});

it('is missing without a cookie, and refused if there are two', async () => {
  const states = createLoginStates(seal, provider);
  const [pair] = (await states.begin('/')).cookie.split(';');
  expect(await states.read(undefined)).toBe('missing');
  expect(await states.read('other=1; scheduler-login=x')).toBe('missing');
  expect(await states.read(`x${pair}`)).toBe('missing');
  expect(await states.read(`${pair}; ${pair}`)).toBe('unreadable');
});
