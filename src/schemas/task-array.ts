import type { z } from 'zod';

/** An array of many tasks in a body. They are checked one by one, so that nothing else waits for all of them. */
export interface TaskArray {
  readonly member: string;
  readonly most: number;
  /** What the body has to be, whatever the tasks are. */
  readonly envelope: z.ZodType;
  /** What each task has to be; the route's `body` says the same of all. */
  readonly task: z.ZodType;
}
