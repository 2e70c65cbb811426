import { DeadLetter } from './dead-letter.ts';
import { ExecutionLog } from './execution-log.ts';
import { IdempotencyKey } from './idempotency-key.ts';
import { Queue } from './queue.ts';
import { SealingKey } from './sealing-key.ts';
import { Sweeper } from './sweeper.ts';
import { Task } from './task.ts';

export const ENTITIES = [Task, ExecutionLog, DeadLetter, Queue, IdempotencyKey, Sweeper, SealingKey] as const;
