import type { z } from 'zod';

/** An array of many tasks in a body. The tasks are checked one by one, so that other work does not wait for all. */
export interface TaskArray {
  readonly member: string;
  readonly most: number;
  /** The schema of the body in which null replaces every task. */
  readonly envelope: z.ZodType;
  /** The schema of each task. The schema `body` of the route describes the same tasks. */
  readonly task: z.ZodType;
}
