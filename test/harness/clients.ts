import { NO_LIMITS, type Client, type ClientLimits } from '../../src/core/access/client.ts';
import { createActionPatterns, createQueuePatterns } from '../../src/core/access/name-patterns.ts';
import { ROLES, type Role, type Scope } from '../../src/core/access/scopes.ts';
import type { Authentication } from '../../src/http/access/authentication.ts';
import { Problem } from '../../src/http/problem.ts';

export interface TestClient {
  /** Default: `submitter`. */
  readonly role?: Role;
  /** Instead of a role. */
  readonly scopes?: readonly Scope[];
  /** Default: `*`. */
  readonly queues?: readonly string[];
  /** Default: `*`. */
  readonly actions?: readonly string[];
  readonly limits?: Partial<ClientLimits>;
}

export function testClient(name: string, given: TestClient): Client {
  const { role = 'submitter', queues = ['*'], actions = ['*'], limits = {} } = given;
  return {
    name,
    scopes: new Set(given.scopes ?? ROLES[role]),
    queues: createQueuePatterns(queues),
    actions: createActionPatterns(actions),
    limits: { ...NO_LIMITS, ...limits },
  };
}

/** Knows clients by their names, which requests send instead of a secret. */
export function authenticationOf(clients: Readonly<Record<string, TestClient>>): Authentication {
  const known = new Map(Object.entries(clients).map(([name, given]) => [`Bearer ${name}`, testClient(name, given)]));
  return {
    clientOf({ rawHeaders }) {
      const client = known.get(rawHeaders.authorization ?? '');
      if (client === undefined) throw new Problem('unauthenticated', 'no client has this name');
      return client;
    },
  };
}

/** Headers of a request on behalf of a client. */
export const as = (name: string): Record<string, string> => ({ authorization: `Bearer ${name}` });
