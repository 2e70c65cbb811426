import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { JsonPieces, toJson } from '../json/json-text.ts';
import type { RequestContext } from './middleware/request-scope.ts';

/** Bytes a character of an answer takes at most: in the text, and in UTF-8 on its way out. */
const CHARACTER_BYTES = 3;

/** Characters that are sent together. */
const GROUP_LENGTH = 65_536;

/**
 * Sets the body of an answer.
 * @param isRead a read holds what its answer takes from now on, until the client has it; whatever came with a body
 * holds that for its answer
 * @throws Problem `overloaded` where the answer is larger than what was taken for it, and there is no room
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

/** What fits into one group is sent as a whole, with its length; more is made while the client takes it. */
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

/** A turn of the event loop for each group: a socket that takes all at once would else have all made at once. */
async function* chained(begun: readonly string[], rest: Iterable<string>): AsyncGenerator<Buffer> {
  for (const group of begun) yield Buffer.from(group);
  for (const group of rest) {
    await setImmediate();
    yield Buffer.from(group);
  }
}
