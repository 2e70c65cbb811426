import { Problem } from '../../../http/problem.ts';
import type { Identity } from './identity.ts';
import type { ProviderFault } from './provider-fault.ts';

/** Seconds after which a request that needs the provider may be repeated. */
const RETRY_AFTER = { 'Retry-After': '5' };

/** What exactly has failed is in the log only. */
export function providerProblem(cause: ProviderFault): Problem {
  return new Problem('provider_unavailable', 'the provider with which people log in does not answer at the moment', {
    headers: RETRY_AFTER,
    cause,
  });
}

/** Somebody whom the provider knows, but who may do nothing here. The grants are not told. */
export function identityProblem(identity: Exclude<Identity, { kind: 'person' }>): Problem {
  if (identity.kind === 'incomplete') return new Problem('identity_incomplete', identity.what);
  return new Problem('no_grant', `the account ${JSON.stringify(identity.name)} has no access`);
}
