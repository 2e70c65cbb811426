import { z } from 'zod';
import { TASK_ID } from '../core/ids.ts';
import { Problem } from './problem.ts';
import type { Link } from './route.ts';

export const time = () => z.iso.datetime();

/** Says that an answer hides something. Fields that are hidden are null, as if there were nothing. */
export const redacted = z
  .literal(true)
  .optional()
  .meta({
    description:
      'true if the client lacks the scope `payload`: payload, result and progress are then null, whether or not there are ' +
      'any, and errors have only `name` and `code`; absent otherwise',
  });

export const taskIdParam = z
  .string()
  .regex(TASK_ID, 'expected a task id (UUIDv7 in lower case)')
  .meta({ description: 'id of a task', example: '019a5b3c-8f00-7000-8000-0123456789ab' });

/**
 * Links for answers that hold the id of a task: the operations of the OpenAPI document that take this id.
 * @param id place of the id in the answer, as an OpenAPI runtime expression
 */
export function taskLinks(id: string): Readonly<Record<string, Link>> {
  return {
    ShowTask: { operationId: 'getTasksId', parameters: { id } },
    ListExecutions: { operationId: 'getTasksIdLogs', parameters: { id } },
    CancelTask: { operationId: 'postTasksIdCancel', parameters: { id } },
  };
}

export function unknownTask(id: string): Problem {
  return new Problem('task_not_found', `no task has the id ${id}`);
}
