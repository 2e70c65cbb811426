import type { z } from 'zod';
import { httpRequestPayload } from './http-request-payload.ts';
import { kubernetesJobPayload } from './kubernetes-job-payload.ts';
import { simulatePayload } from './simulate-payload.ts';

/** The actions that every worker knows, with what their payloads have to be. No team can give one of these names to a handler of its own. */
export const BUILT_IN_PAYLOADS = {
  simulate: simulatePayload,
  'http.request': httpRequestPayload,
  'kubernetes.job': kubernetesJobPayload,
} as const satisfies Readonly<Record<string, z.ZodType>>;

export type BuiltInAction = keyof typeof BUILT_IN_PAYLOADS;

/** The action of a task that names none. */
export const DEFAULT_ACTION: BuiltInAction = 'simulate';

export function isBuiltIn(action: string): action is BuiltInAction {
  return Object.hasOwn(BUILT_IN_PAYLOADS, action);
}

/** What is wrong with the payload of a built-in action. Of other actions only their handlers know what they take. */
export function payloadIssues(action: BuiltInAction, payload: unknown): readonly z.core.$ZodIssue[] {
  return BUILT_IN_PAYLOADS[action].safeParse(payload).error?.issues ?? [];
}
