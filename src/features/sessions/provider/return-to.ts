/** Where people come to if nobody says where they wanted to go. */
export const START = '/';

const LENGTH_MAX = 2_000;

/** Printable ASCII without `\`, which browsers take for `/`. They drop control characters within an address. */
const PLAIN = /^\/[\x21-\x5b\x5d-\x7e]*$/;

/**
 * Returns the path of this server to which a browser may be sent after a login, or the start if the text is none.
 * Whoever makes the link to a login chooses it, so it must not lead to another server: `//evil.example` would, and
 * so would `/.//evil.example`, which becomes the same when a browser resolves it. A path below `/login` would begin or
 * repeat a login.
 */
export function returnPath(text: string | undefined): string {
  if (text === undefined || text.length > LENGTH_MAX || !PLAIN.test(text) || text.startsWith('//')) return START;
  const base = 'http://localhost';
  const url = URL.parse(text, base);
  if (url === null || url.origin !== base) return START;
  const path = url.pathname + url.search + url.hash;
  if (path.startsWith('//') || path.length > LENGTH_MAX || /^\/login(?:[/?#]|$)/i.test(path)) return START;
  return path;
}
