import { AuditRow } from './audit-row.ts';
import { ClientSecret } from './client-secret.ts';
import { StoredClient } from './client.ts';
import { ClientsVersion } from './clients-version.ts';
import { DeadLetter } from './dead-letter.ts';
import { EndedAttempt } from './ended-attempt.ts';
import { FinishedTask } from './finished-task.ts';
import { IdempotencyKey } from './idempotency-key.ts';
import { MetadataPair } from './metadata-pair.ts';
import { PastDay } from './past-day.ts';
import { Queue } from './queue.ts';
import { SealingKey } from './sealing-key.ts';
import { Submission } from './submission.ts';
import { Sweeper } from './sweeper.ts';
import { UnfinishedTask } from './unfinished-task.ts';

export const ENTITIES = [
  Submission,
  MetadataPair,
  UnfinishedTask,
  FinishedTask,
  EndedAttempt,
  DeadLetter,
  Queue,
  IdempotencyKey,
  Sweeper,
  PastDay,
  SealingKey,
  AuditRow,
  StoredClient,
  ClientSecret,
  ClientsVersion,
] as const;
