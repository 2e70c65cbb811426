import { hash, randomBytes } from 'node:crypto';
import { SESSION_TOKEN_BYTES } from '../../http/access/session-cookie.ts';

/** Makes the token of a new session. Only the browser has it; PostgreSQL has its hash. */
export function makeToken(): string {
  return randomBytes(SESSION_TOKEN_BYTES).toString('base64url');
}

/** Returns the SHA-256 of a token in hexadecimal digits. A fast hash is enough, because nobody can guess 256 random bits. */
export function hashOfToken(token: string): string {
  return hash('sha256', token, 'hex');
}
