/** What comes before the name of a person whom a provider knows. No name of a client has a colon. */
export const PROVIDER_PREFIX = 'oidc:';
