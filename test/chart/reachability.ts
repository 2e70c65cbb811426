import type { KubernetesObject, Loose } from './render.ts';

/** A pod from the view of network policies, which may refer to a port by its name. */
export interface Peer {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports?: Readonly<Record<string, number>>;
}

/**
 * Returns whether a pod may connect to a port of another, by the rules of Kubernetes: everything is allowed for a pod
 * that no policy for that direction selects; otherwise one rule of one policy has to allow it. Address blocks count as
 * addresses outside the cluster.
 */
export function mayReach(
  policies: readonly KubernetesObject[],
  from: Peer,
  to: Peer,
  port: number,
  udp = false,
): boolean {
  const lets = (direction: 'Ingress' | 'Egress', self: Peer, other: Peer): boolean => {
    const selecting = policies.filter(
      ({ metadata, spec }: Loose) =>
        metadata.namespace === self.namespace &&
        spec.policyTypes.includes(direction) &&
        selects(spec.podSelector, self.labels),
    );
    if (selecting.length === 0) return true;
    return selecting.some(({ metadata, spec }: Loose) =>
      (spec[direction.toLowerCase()] ?? []).some(
        (rule: Loose) =>
          hasPort(rule.ports, to, port, udp) &&
          hasPeer(direction === 'Ingress' ? rule.from : rule.to, other, metadata.namespace),
      ),
    );
  };
  return lets('Egress', from, to) && lets('Ingress', to, from);
}

function hasPort(ports: Loose[] | undefined, to: Peer, port: number, udp: boolean): boolean {
  if (ports === undefined) return true;
  return ports.some(
    (each) =>
      (each.protocol ?? 'TCP') === (udp ? 'UDP' : 'TCP') &&
      (typeof each.port === 'string' ? to.ports?.[each.port] === port : each.port === port),
  );
}

function hasPeer(peers: Loose[] | undefined, other: Peer, namespace: string): boolean {
  if (peers === undefined) return true;
  return peers.some((peer) => {
    if (peer.ipBlock !== undefined) return false;
    const nearby =
      peer.namespaceSelector === undefined
        ? other.namespace === namespace
        : selects(peer.namespaceSelector, { 'kubernetes.io/metadata.name': other.namespace });
    return nearby && selects(peer.podSelector ?? {}, other.labels);
  });
}

function selects(selector: Loose, labels: Readonly<Record<string, string>>): boolean {
  for (const { operator } of selector.matchExpressions ?? [])
    if (operator !== 'In') throw new Error(`the operator ${operator} is not modelled`);
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, values }: Loose) => values.includes(labels[key]))
  );
}
