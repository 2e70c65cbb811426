/** A long-lived part of a process. */
export interface Service {
  readonly name: string;
  /** Resolves when the service is ready. Rejects if it cannot become ready. */
  start(): Promise<void>;
  /** Idempotent, and safe before `start()`. Resolves when all work has ended, except work that hangs on a store. */
  stop(): Promise<void>;
}
