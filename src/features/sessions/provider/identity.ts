import type { Grant, Grants } from './grants.ts';

/** What a provider says of a person: the claims of an ID token, of UserInfo or of an access token. */
export type Claims = Readonly<Record<string, unknown>>;

/** Which claims say what, and what follows from them. */
export interface IdentityRules {
  readonly nameClaim: string;
  readonly grantsClaim: string;
  readonly grants: Grants;
}

export type Identity =
  | { readonly kind: 'person'; readonly name: string; readonly grant: Grant }
  /** The provider is sure of the person, but does not say enough. `what` is for the person and for the log. */
  | { readonly kind: 'incomplete'; readonly what: string }
  | { readonly kind: 'no-grant'; readonly name: string };

const NAME_LENGTH_MAX = 250;

/**
 * A name is shown in lists, in logs and on terminals, and is part of keys. So it has no control characters, none that
 * change the direction of a text, and no white space at its ends, which would make two names look the same.
 */
const NAME = new RegExp(`^(?!\\s)[^\\p{C}\\p{Zl}\\p{Zp}]{1,${NAME_LENGTH_MAX}}(?<!\\s)$`, 'u');

/** Returns whether the claims lack one that the rules need, so that another answer of the provider may help. */
export function lacksClaims(claims: Claims, { nameClaim, grantsClaim }: IdentityRules): boolean {
  return !isGiven(claims[nameClaim]) || !isGiven(claims[grantsClaim]);
}

/**
 * Finds out who a person is and which grant applies. An address that the provider has not verified names nobody: at
 * many providers, everybody may enter any address.
 */
export function identityIn(claims: Claims, { nameClaim, grantsClaim, grants }: IdentityRules): Identity {
  if ((nameClaim === 'email' || grantsClaim === 'email') && isUnverified(claims['email_verified'])) {
    return { kind: 'incomplete', what: 'the provider has not verified the address (`email_verified` is false)' };
  }
  const name = claims[nameClaim];
  if (!isGiven(name)) return { kind: 'incomplete', what: `the provider gives no claim \`${nameClaim}\`` };
  if (typeof name !== 'string' || !NAME.test(name)) {
    const rule = `a text of at most ${NAME_LENGTH_MAX} characters, without control characters`;
    return { kind: 'incomplete', what: `the claim \`${nameClaim}\` is not a name: expected ${rule}` };
  }
  const given = claims[grantsClaim];
  if (!isGiven(given)) return { kind: 'incomplete', what: `the provider gives no claim \`${grantsClaim}\`` };
  const values = Array.isArray(given) ? (given as unknown[]) : [given];
  if (!values.every((value) => typeof value === 'string')) {
    return { kind: 'incomplete', what: `the claim \`${grantsClaim}\` is neither a text nor a list of texts` };
  }
  const grant = grants.match(values);
  return grant === null ? { kind: 'no-grant', name } : { kind: 'person', name, grant };
}

/** Some providers send an empty claim where they have nothing to say. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}

/** Some providers do not say it at all, and some as a text. */
function isUnverified(verified: unknown): boolean {
  return verified === false || (typeof verified === 'string' && verified.toLowerCase() === 'false');
}
