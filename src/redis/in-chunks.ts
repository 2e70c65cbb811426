/** Entries per script call. A call then takes a few milliseconds, so that it does not block other clients. */
const CHUNK = 500;

/** Sends many entries in several pipelined calls, and returns the replies in order. */
export function inChunks<Item, Reply>(
  items: readonly Item[],
  send: (chunk: readonly Item[]) => Promise<Reply>,
): Promise<Reply[]> {
  const sent: Promise<Reply>[] = [];
  for (let i = 0; i < items.length; i += CHUNK) sent.push(send(items.slice(i, i + CHUNK)));
  return Promise.all(sent);
}
