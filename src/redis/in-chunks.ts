/** Keeps one script call in the low milliseconds, so that it does not hold up other clients. */
const CHUNK = 500;

/** Sends many entries in several calls, without waiting in between; they are answered in order: one pipeline. */
export function inChunks<Item, Reply>(
  items: readonly Item[],
  send: (chunk: readonly Item[]) => Promise<Reply>,
): Promise<Reply[]> {
  const sent: Promise<Reply>[] = [];
  for (let i = 0; i < items.length; i += CHUNK) sent.push(send(items.slice(i, i + CHUNK)));
  return Promise.all(sent);
}
