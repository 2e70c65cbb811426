import { z } from 'zod';
import { FinalError } from '../core/errors.ts';
import { parsePayload } from './payload.ts';

/** Told to every container, to fence effects of its own; a payload that sets them too would contradict. */
export const TOLD_VARIABLES = ['TASK_ID', 'TASK_ATTEMPT', 'TASK_ATTEMPT_TOKEN', 'TRACE_ID'] as const;

const words = z.array(z.string().max(32_768)).max(1_000);

/** Kubernetes checks names and amounts; `nvidia.com/gpu` is as good as `cpu`. */
const quantities = z.record(z.string().max(300), z.string().max(32));

const environment = z.record(z.string(), z.string()).superRefine((given, context) => {
  for (const name of Object.keys(given)) {
    const problem = (TOLD_VARIABLES as readonly string[]).includes(name)
      ? 'is set by the scheduler and cannot be given'
      : !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
        ? 'expected a name of letters, digits and _'
        : null;
    if (problem !== null) context.addIssue({ code: 'custom', path: [name], message: problem });
  }
});

export const jobPayloadSchema = z.strictObject({
  action: z.string().optional().describe('names this handler; read when the task is submitted'),
  image: z.string().min(1).max(1_024).describe('one that KUBERNETES_JOBS_IMAGES allows'),
  command: words.optional().describe("instead of the image's entry point"),
  args: words.optional(),
  env: environment.optional(),
  resources: z.strictObject({ requests: quantities.optional(), limits: quantities.optional() }).optional(),
  run_as_user: z.int().min(1).max(2_147_483_647).optional().describe('where the image would run as root or a name'),
  final_exit_codes: z
    .array(z.int().min(1).max(255))
    .max(255)
    .optional()
    .describe('exit codes after which another attempt makes no sense'),
});

export type JobPayload = z.output<typeof jobPayloadSchema>;

/**
 * Reads the payload of `kubernetes.job`.
 * @param allowed images, or beginnings of images that end in `*`
 * @throws FinalError `invalid_payload`, `image_refused`
 */
export function readJobPayload(payload: unknown, allowed: readonly string[]): JobPayload {
  const given = parsePayload(jobPayloadSchema, payload);
  const isAllowed = allowed.some((entry) =>
    entry.endsWith('*') ? given.image.startsWith(entry.slice(0, -1)) : given.image === entry,
  );
  if (!isAllowed) {
    throw new FinalError(`payload.image: ${JSON.stringify(given.image)} is none that KUBERNETES_JOBS_IMAGES allows`, {
      code: 'image_refused',
    });
  }
  return given;
}
