import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { LOGIN_MS } from '../../../config/access-timings.ts';
import { cookiesNamed, hostCookie } from '../../../http/access/cookies.ts';
import type { Seal } from '../../../http/seal.ts';
import type { LoginSecrets } from './provider.ts';

/** A login that a browser has begun. */
export interface LoginState extends LoginSecrets {
  /** A path of this server. */
  readonly returnTo: string;
}

/**
 * Keeps the state of a login in a cookie of the browser that began it. So any API process can end the login, nothing is
 * stored for logins that nobody ends, and nobody else's browser can end it.
 */
export interface LoginStates {
  /** Begins a login. Returns its state, and the cookie (`Set-Cookie`). */
  begin(returnTo: string): Promise<{ readonly state: LoginState; readonly cookie: string }>;
  /** Returns the state of the login that the browser has begun, or why there is none. */
  read(cookies: string | undefined): Promise<LoginState | 'missing' | 'unreadable' | 'expired'>;
}

const NAME = '__Host-scheduler-login';

/** Removes the cookie: no login can be ended twice by the same browser. */
export const NO_LOGIN_COOKIE = hostCookie(NAME, '', 0);

const secret = () => z.string().regex(/^[A-Za-z0-9_-]{43}$/);

const sealedSchema = z.strictObject({
  verifier: secret(),
  state: secret(),
  nonce: secret(),
  returnTo: z.string(),
  endsAtMs: z.number(),
});

/** Longest value that is looked at. Browsers keep 4 KiB. */
const SEALED_LENGTH_MAX = 4_096;

/**
 * @param seal shared by all API processes
 * @param belongsTo what the login belongs to: the provider, and the client that the scheduler is there
 */
export function createLoginStates(seal: Seal, belongsTo: unknown, nowMs: () => number = Date.now): LoginStates {
  const context = ['login', belongsTo];
  return {
    async begin(returnTo) {
      const [verifier, state, nonce] = [randomText(), randomText(), randomText()];
      const sealed = await seal.seal(context, { verifier, state, nonce, returnTo, endsAtMs: nowMs() + LOGIN_MS });
      const cookie = hostCookie(NAME, sealed, LOGIN_MS / 1_000);
      return { state: { verifier, state, nonce, returnTo }, cookie };
    },
    async read(cookies) {
      const [text, second] = cookiesNamed(cookies, NAME);
      if (text === undefined) return 'missing';
      if (second !== undefined || text.length > SEALED_LENGTH_MAX) return 'unreadable';
      const result = sealedSchema.safeParse(await seal.open(context, text));
      if (!result.success) return 'unreadable';
      const { endsAtMs, ...state } = result.data;
      return endsAtMs > nowMs() ? state : 'expired';
    },
  };
}

/** 256 random bits. */
function randomText(): string {
  return randomBytes(32).toString('base64url');
}
