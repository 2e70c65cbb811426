/**
 * Returns the values of all cookies of a name, as the browser sent them.
 * @param header the `Cookie` header
 */
export function cookiesNamed(header: string | undefined, name: string): string[] {
  // Most requests of programs have no cookies.
  if (header === undefined || !header.includes(name)) return [];
  return header.split(';').flatMap((part) => {
    const [own = '', ...value] = part.split('=');
    return own.trim() === name ? [value.join('=').trim()] : [];
  });
}

/**
 * Returns a `Set-Cookie` for a cookie that browsers send only to this host, only over TLS (or to this machine), and not
 * with requests that pages of other sites make. Scripts cannot read it.
 * @param name begins with `__Host-`, so that neither another host of the domain nor plain HTTP can set it
 * @param value has no characters that cookies forbid
 */
export function hostCookie(name: `__Host-${string}`, value: string, maxAgeSeconds: number): string {
  return `${name}=${value}; Max-Age=${maxAgeSeconds}; Path=/; Secure; HttpOnly; SameSite=Lax`;
}
