import { z } from 'zod';
import { TASK_ID } from '../core/ids.ts';
import { Problem } from './problem.ts';
import type { Link } from './route.ts';

export const time = () => z.iso.datetime();

const redactedFields = z
  .array(z.string())
  .readonly()
  .optional()
  .meta({
    description:
      'where the text `[redacted]` stands in place of a value, such as `payload.card.number` or `metadata.customer`; absent ' +
      'if it stands nowhere. What is written here is the setting that hides the value: a path of `REDACTED_FIELDS`, ' +
      'behind the name of the field, or a name in `PRIVATE_METADATA`',
    example: ['payload.card.number'],
  });

/** The fields that say what an answer hides. Fields that are hidden as a whole are null, as if there were nothing. */
export const redactionMark = {
  redacted: z
    .literal(true)
    .optional()
    .meta({
      description:
        'true if the client lacks the scope `payload`: payload, result and progress are then null, whether or not there ' +
        'are any, and errors have only `name` and `code`; absent otherwise',
    }),
  redacted_fields: redactedFields,
};

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
