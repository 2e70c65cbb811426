/** A long-lived part of a process. */
export interface Service {
  readonly name: string;
  /** Resolves when the service is ready; rejects if it cannot become so. */
  start(): Promise<void>;
  /** Idempotent, and safe before `start()`. Resolves when nothing of the service runs any more but what hangs on a store. */
  stop(): Promise<void>;
}
