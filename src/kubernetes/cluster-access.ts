import { existsSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../config/env.ts';

/** The access of this process to the Kubernetes API, with the token of the pod's service account. */
export interface ClusterAccess {
  /** `https://host:port` */
  readonly server: string;
  readonly caFile: string;
  /** The kubelet replaces this file from time to time. */
  readonly tokenFile: string;
  /** The pod's own namespace. */
  readonly namespace: string;
}

/** Returns null outside of a cluster and in a pod without a token. Does not load the client's library. */
export function findClusterAccess(
  config: Pick<
    Config,
    'KUBERNETES_SERVICE_HOST' | 'KUBERNETES_SERVICE_PORT' | 'KUBERNETES_SERVICE_ACCOUNT' | 'POD_NAMESPACE'
  >,
): ClusterAccess | null {
  const {
    KUBERNETES_SERVICE_HOST: host,
    KUBERNETES_SERVICE_PORT: port,
    KUBERNETES_SERVICE_ACCOUNT: directory,
  } = config;
  const [caFile, tokenFile, namespaceFile] = ['ca.crt', 'token', 'namespace'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  if (host === '' || ![caFile, tokenFile].every((path) => existsSync(path))) return null;
  const namespace =
    config.POD_NAMESPACE === '' && existsSync(namespaceFile)
      ? readFileSync(namespaceFile, 'utf8').trim()
      : config.POD_NAMESPACE;
  if (namespace === '') return null;
  return { server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`, caFile, tokenFile, namespace };
}
