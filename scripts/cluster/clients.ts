import { randomBytes } from 'node:crypto';
import { apply, kubectl, NAMESPACE } from './cluster.ts';

/** The clients of the tests, with their roles. */
const CLIENTS = { tests: 'admin', tester: 'submitter', viewer: 'viewer' } as const;
type ClientName = keyof typeof CLIENTS;

/** The Secret with the secret of each client, by its name. */
const SECRET = 'e2e-clients';

/** Values of the chart: the API asks for keys, the clients are known to it, and `helm test` is one of them. */
export const CLIENT_SETTINGS: readonly string[] = [
  'auth.mode=keys',
  ...Object.entries(CLIENTS).flatMap(([name, role]) => [
    `auth.clients.${name}.existingSecret=${SECRET}`,
    `auth.clients.${name}.secretKey=${name}`,
    `auth.clients.${name}.role=${role}`,
  ]),
  'auth.clients.tests.actions={*,kubernetes.job}',
  'helmTest.client=tester',
];

export function makeSecrets(): void {
  const stringData = Object.fromEntries(Object.keys(CLIENTS).map((name) => [name, randomBytes(24).toString('hex')]));
  apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: SECRET, namespace: NAMESPACE }, stringData });
}

export function deleteSecrets(): void {
  kubectl('delete', 'secret', SECRET, '--ignore-not-found');
}

export function secretOf(client: ClientName): string {
  const text = kubectl('get', 'secret', SECRET, '--output', `jsonpath={.data.${client}}`);
  return Buffer.from(text, 'base64').toString('utf8');
}
