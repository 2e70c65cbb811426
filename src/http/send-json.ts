import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { JsonPieces, toJson } from '../json/json-text.ts';
import type { RequestContext } from './middleware/request-scope.ts';

/** Bytes of memory for one character of an answer at most: in the string, and in the UTF-8 that is sent. */
const CHARACTER_BYTES = 3;

/** Number of characters that are sent together. */
const GROUP_LENGTH = 65_536;

/**
 * Sets the body of an answer.
 * @param isRead true for a request without a body. Its lease is changed to the size of the answer. A request with a
 * body keeps the lease of its body for the answer.
 * @throws Problem `overloaded` if the answer needs more memory than the lease has, and there is no room
 */
export async function sendJson(ctx: RequestContext, body: unknown, isRead: boolean): Promise<void> {
  if (body instanceof JsonPieces) {
    sendPieces(ctx, body);
    return;
  }
  const text = toJson(body);
  if (isRead) await ctx.state.lease.hold(CHARACTER_BYTES * text.length);
  ctx.body = text;
}

/** Sends an answer of one group as a whole, with its length. A longer answer is made while the client takes it. */
function sendPieces(ctx: RequestContext, { pieces }: JsonPieces): void {
  const groups = grouped(pieces);
  const first = groups.next();
  const second = groups.next();
  if (second.done === true) ctx.body = first.value ?? '';
  else ctx.body = Readable.from(chained([first.value as string, second.value], groups));
}

function* grouped(pieces: Iterable<string>): Generator<string, undefined> {
  let group = '';
  for (const piece of pieces) {
    group += piece;
    if (group.length < GROUP_LENGTH) continue;
    yield group;
    group = '';
  }
  if (group !== '') yield group;
}

/**
 * Makes each group in its own turn of the event loop. Otherwise a socket that takes everything at once would cause the
 * whole answer to be made in one turn.
 */
async function* chained(begun: readonly string[], rest: Iterable<string>): AsyncGenerator<Buffer> {
  for (const group of begun) yield Buffer.from(group);
  for (const group of rest) {
    await setImmediate();
    yield Buffer.from(group);
  }
}
