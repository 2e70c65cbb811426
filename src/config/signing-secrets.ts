export const SIGNING_SECRET_RULE =
  'one or two secrets of the form whsec_ and 24 to 64 bytes in base64, separated by white space';

const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/;

/**
 * Reads signing secrets in the form of the Standard Webhooks specification; null if one has another form. With two
 * secrets, messages get two signatures, so that targets can change over from one secret to the other.
 */
export function parseSigningSecrets(text: string): Buffer[] | null {
  const given = text.split(/\s+/).filter((part) => part !== '');
  const secrets = given.map((part) => Buffer.from(SECRET.exec(part)?.[1] ?? '', 'base64'));
  const whole = secrets.every((secret, i) => {
    const isCanonical = `whsec_${secret.toString('base64')}`.replace(/=+$/, '') === given[i]?.replace(/=+$/, '');
    return isCanonical && secret.length >= 24 && secret.length <= 64;
  });
  return whole && secrets.length <= 2 ? secrets : null;
}
