import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';

/** Of the memory that this process may have: what is under way gets a quarter, and program, caches and garbage the rest. */
const SHARE_IN_FLIGHT = 1 / 4;

/** JavaScript objects may take half of the memory of a container unless `--max-old-space-size` says otherwise; so a limit for them alone stands for twice as much. */
const MEMORY_OF_HEAP = 2;

/**
 * Bytes that requests and answers under way may take unless a setting says so: a quarter of the least of the
 * container's limit, twice the limit of the heap, and the machine's memory.
 */
export function inFlightByDefault(): number {
  // Where there is no limit, the operating system tells none or a number beyond any memory.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  const memory = Math.min(constrained, getHeapStatistics().heap_size_limit * MEMORY_OF_HEAP, totalmem());
  return Math.floor(memory * SHARE_IN_FLIGHT);
}
