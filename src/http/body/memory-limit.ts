import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';

/** Share of the process's memory for requests in progress. The rest is for the program, caches and garbage. */
const SHARE_IN_FLIGHT = 1 / 4;

/**
 * Memory of the process for each byte of the JavaScript heap. By default, the heap may take half of the container's
 * memory. So if only the heap has a limit (`--max-old-space-size`), the process may use twice that limit.
 */
const MEMORY_OF_HEAP = 2;

/**
 * Returns the default limit in bytes for requests and answers in progress. It is a quarter of the smallest of: the
 * container's limit, twice the limit of the heap, and the machine's memory.
 */
export function inFlightByDefault(): number {
  // Without a limit, the operating system reports none, or a number larger than any memory.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  const memory = Math.min(constrained, getHeapStatistics().heap_size_limit * MEMORY_OF_HEAP, totalmem());
  return Math.floor(memory * SHARE_IN_FLIGHT);
}
