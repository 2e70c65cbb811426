import { createHmac } from 'node:crypto';

/** What a signature is made of. */
export interface SignedMessage {
  /** Stays the same when the message is sent again, so that a target can drop repeats. It contains no dot. */
  readonly id: string;
  /** Seconds since 1970. A target refuses messages that are too old. */
  readonly seconds: number;
  readonly body: string;
}

/**
 * Returns the three headers of the Standard Webhooks specification (version 1, symmetric), with one signature for each
 * secret. A target that knows one of the secrets can verify that this scheduler has sent the message.
 * @param secrets keys as bytes, see `parseSigningSecrets`
 */
export function signatureHeaders(
  { id, seconds, body }: SignedMessage,
  secrets: readonly Buffer[],
): Record<string, string> {
  const signatures = secrets.map(
    (secret) => `v1,${createHmac('sha256', secret).update(`${id}.${seconds}.${body}`).digest('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': String(seconds), 'webhook-signature': signatures.join(' ') };
}
