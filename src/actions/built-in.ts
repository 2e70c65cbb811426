import type { z } from 'zod';
import { httpRequestPayload } from './http-request-payload.ts';
import { kubernetesJobPayload } from './kubernetes-job-payload.ts';
import { simulatePayload } from './simulate-payload.ts';

/**
 * The actions that every worker knows, with the schemas of their payloads. A team cannot register a handler under one
 * of these names.
 */
export const BUILT_IN_PAYLOADS = {
  simulate: simulatePayload,
  'http.request': httpRequestPayload,
  'kubernetes.job': kubernetesJobPayload,
} as const satisfies Readonly<Record<string, z.ZodType>>;

export type BuiltInAction = keyof typeof BUILT_IN_PAYLOADS;

export function isBuiltIn(action: string): action is BuiltInAction {
  return Object.hasOwn(BUILT_IN_PAYLOADS, action);
}

/** Returns what is wrong with the payload of a built-in action. For other actions, only the handlers know the form. */
export function payloadIssues(action: BuiltInAction, payload: unknown): readonly z.core.$ZodIssue[] {
  return BUILT_IN_PAYLOADS[action].safeParse(payload).error?.issues ?? [];
}
