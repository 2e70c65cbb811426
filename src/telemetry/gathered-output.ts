import { levels, symbols, type DestinationStream } from 'pino';

/** Gathered lines of this length are written before the turn is over. */
const GATHERED_MAX_LENGTH = 65_536;

/**
 * Gathers the lines of one turn of the event loop into one write, because under load a system call for each
 * request's line costs more than the line. A line of level `warn` or higher, and all lines before it, are written
 * before the call returns: a line that explains a crash must be written before the process ends.
 */
export function gatherByTurn(output: DestinationStream): DestinationStream {
  let gathered = '';
  const flush = (): void => {
    const lines = gathered;
    gathered = '';
    if (lines !== '') output.write(lines);
  };
  process.on('exit', flush);
  return {
    // Makes pino set `lastLevel` to the level of each line.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write(line: string) {
      if (gathered === '') setImmediate(flush);
      gathered += line;
      if (this.lastLevel >= (levels.values['warn'] as number) || gathered.length >= GATHERED_MAX_LENGTH) flush();
    },
  } as DestinationStream & { lastLevel: number };
}
