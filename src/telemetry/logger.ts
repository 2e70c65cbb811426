import { destination, pino, stdTimeFunctions, type Logger } from 'pino';

export type { Logger };

/**
 * JSON lines on standard output, written synchronously: a line that explains a
 * crash must be out before the process is.
 */
export function createLogger(level: string, base: Record<string, string>): Logger {
  return pino(
    {
      level,
      base,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ['payload', '*.payload', 'headers', '*.headers', 'err.config'], censor: '(redacted)' },
    },
    destination({ dest: 1, sync: true }),
  );
}
