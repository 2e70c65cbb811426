/** A browser without a screen: it keeps cookies for each server and follows redirects one by one. */
export interface Walker {
  /** Sends one request, and keeps the cookies of the answer. */
  visit(url: string, init?: RequestInit): Promise<Response>;
  /** Follows redirects until there is none, or until `stopAt` says so of the address to which one leads. */
  walk(url: string, stopAt?: (url: URL) => boolean): Promise<{ readonly url: URL; readonly response: Response | null }>;
  /** Cookies of the server of an address, by name. */
  cookies(url: string): Map<string, string>;
}

const REDIRECTS_MAX = 20;

export function createWalker(): Walker {
  const jars = new Map<string, Map<string, string>>();
  const jarOf = (url: string): Map<string, string> => {
    const { host } = new URL(url);
    const jar = jars.get(host) ?? new Map<string, string>();
    jars.set(host, jar);
    return jar;
  };

  const visit: Walker['visit'] = async (url, init = {}) => {
    const jar = jarOf(url);
    const cookie = [...jar].map((pair) => pair.join('=')).join('; ');
    const headers = { ...(init.headers as Record<string, string>), ...(cookie === '' ? {} : { cookie }) };
    const response = await fetch(url, { ...init, headers, redirect: 'manual', signal: AbortSignal.timeout(30_000) });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      const isOver = value === '' || /max-age=0(;|$)/i.test(line) || /expires=thu, 01 jan 1970/i.test(line);
      if (isOver) jar.delete(name);
      else jar.set(name, value);
    }
    return response;
  };

  return {
    visit,
    cookies: jarOf,
    async walk(from, stopAt = () => false) {
      let url = new URL(from);
      for (let steps = 0; steps < REDIRECTS_MAX; steps++) {
        if (stopAt(url)) return { url, response: null };
        const response = await visit(url.href);
        const location = response.headers.get('location');
        if (location === null) return { url, response };
        url = new URL(location, url);
      }
      throw new Error(`more than ${REDIRECTS_MAX} redirects from ${from}`);
    },
  };
}

/**
 * Logs in at the provider, from the address to which the API has sent the browser.
 * @param person null: the person cancels
 * @returns the address to which the provider sends the browser back
 */
export async function logInAtProvider(walker: Walker, from: URL, person: string | null): Promise<URL> {
  const isBack = (url: URL): boolean => url.pathname === '/login/callback';
  const { url: form, response } = await walker.walk(from.href, isBack);
  // Somebody who is logged in already sees no form.
  if (response === null) return form;
  if (response.status !== 200) throw new Error(`the provider answers ${response.status}: ${await response.text()}`);
  const posted = await walker.visit(form.href, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: person === null ? '' : new URLSearchParams({ login: person }).toString(),
  });
  const next = posted.headers.get('location');
  if (next === null) throw new Error(`the form answers ${posted.status}: ${await posted.text()}`);
  const { url, response: last } = await walker.walk(new URL(next, form).href, isBack);
  if (last !== null) throw new Error(`the provider ends at ${url.href}: ${await last.text()}`);
  return url;
}
