import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { canonicalJson } from '../json/canonical-json.ts';

/**
 * Seals values that clients keep for the API and hand back later: cursors, and the state of a login. A sealed value is
 * encrypted with AES-256-GCM under a key that all API processes share, so nobody else can read, change or make one.
 */
export interface Seal {
  /** @param context what the value belongs to; it can only be opened in the same context */
  seal(context: unknown, value: object): Promise<string>;
  /** Returns the value; undefined if the text was not sealed with this key in this context. */
  open(context: unknown, text: string): Promise<unknown>;
}

const CIPHER = 'aes-256-gcm';
/** The first byte names the format, so that a later format can be told apart. */
const VERSION = Buffer.from([1]);
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param readKey reads the key of 32 bytes; called again after a failure, until it succeeds once */
export function createSeal(readKey: () => Promise<Buffer>): Seal {
  let known: Promise<Buffer> | undefined;
  const key = async (): Promise<Buffer> => {
    known ??= readKey();
    try {
      return await known;
    } catch (error) {
      known = undefined;
      throw error;
    }
  };

  return {
    async seal(context, value) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, await key(), nonce).setAAD(boundTo(context));
      const text = [cipher.update(JSON.stringify(value), 'utf8'), cipher.final()];
      return Buffer.concat([VERSION, nonce, ...text, cipher.getAuthTag()]).toString('base64url');
    },

    async open(context, text) {
      return unsealed(Buffer.from(text, 'base64url'), await key(), boundTo(context));
    },
  };
}

function boundTo(context: unknown): Buffer {
  return Buffer.from(canonicalJson(context));
}

function unsealed(bytes: Buffer, key: Buffer, context: Buffer): unknown {
  const from = VERSION.length + NONCE_BYTES;
  const to = bytes.length - TAG_BYTES;
  if (to <= from || bytes[0] !== VERSION[0]) return undefined;
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(VERSION.length, from), { authTagLength: TAG_BYTES });
  decipher.setAAD(context).setAuthTag(bytes.subarray(to));
  try {
    return JSON.parse(decipher.update(bytes.subarray(from, to), undefined, 'utf8') + decipher.final('utf8'));
  } catch {
    return undefined;
  }
}
