import { AuditRow } from './access/audit-row.ts';
import { ClientSecret } from './access/client-secret.ts';
import { StoredClient } from './access/client.ts';
import { ClientsVersion } from './access/clients-version.ts';
import { Session } from './access/session.ts';
import { PastDay } from './past-day.ts';
import { Queue } from './queue.ts';
import { SealingKey } from './sealing-key.ts';
import { Sweeper } from './sweeper.ts';
import { DeadLetter } from './tasks/dead-letter.ts';
import { EndedAttempt } from './tasks/ended-attempt.ts';
import { FinishedTask } from './tasks/finished-task.ts';
import { IdempotencyKey } from './tasks/idempotency-key.ts';
import { MetadataPair } from './tasks/metadata-pair.ts';
import { Submission } from './tasks/submission.ts';
import { UnfinishedTask } from './tasks/unfinished-task.ts';

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
  Session,
] as const;
