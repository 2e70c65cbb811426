import { covers, networkOf, parseNetwork } from './networks.ts';

const LOOPBACK = ['127.0.0.0/8', '::1'].map(networkOf);

/** Returns whether only programs on this machine can reach a server that listens on this host. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true;
  const network = parseNetwork(host);
  return typeof network !== 'string' && LOOPBACK.some((range) => covers(range, network));
}
