import { levels, symbols, type DestinationStream } from 'pino';

/** A part of this size goes out before the turn is over. */
const GATHERED_MAX_LENGTH = 65_536;

/**
 * Gathers the lines of one turn of the event loop into one write: under load a system call for each
 * request's line costs more than the line. From `warn` on a line goes out before the call returns, and
 * all before it: what explains a crash must be out before the process is.
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
    // Makes pino tell the level of each line.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write(line: string) {
      if (gathered === '') setImmediate(flush);
      gathered += line;
      if (this.lastLevel >= (levels.values['warn'] as number) || gathered.length >= GATHERED_MAX_LENGTH) flush();
    },
  } as DestinationStream & { lastLevel: number };
}
