import { z } from 'zod';
import { boundedArray, boundedRecord } from './bounded.ts';

/** Variables that every container gets, for example to fence its side effects. A payload must not set them as well. */
export const TOLD_VARIABLES = ['TASK_ID', 'TASK_ATTEMPT', 'TASK_ATTEMPT_TOKEN', 'TRACE_ID'] as const;

const words = boundedArray(z.string().max(32_768), 1_000);

/** Kubernetes checks names and amounts. Here any name is allowed, such as `nvidia.com/gpu`. */
const quantities = boundedRecord(z.string().max(32), 20);

const ENVIRONMENT_MAX = 500;

const environment = boundedRecord(z.string(), ENVIRONMENT_MAX).superRefine((given, context) => {
  for (const name of Object.keys(given)) {
    const problem = (TOLD_VARIABLES as readonly string[]).includes(name)
      ? 'is set by the scheduler and cannot be given'
      : !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
        ? 'expected a name of letters, digits and _'
        : null;
    if (problem !== null) context.addIssue({ code: 'custom', path: [name], message: problem });
  }
});

/** The payload of a task with the action `kubernetes.job`. */
export const kubernetesJobPayload = z
  .strictObject({
    action: z.string().optional().describe('`kubernetes.job`, if the task itself has no `action`'),
    image: z.string().min(1).max(1_024).describe('image that `KUBERNETES_JOBS_IMAGES` allows'),
    command: words.optional().describe("up to 1,000 texts, instead of the image's entry point"),
    args: words.optional().describe("up to 1,000 texts, instead of the image's arguments"),
    env: environment
      .optional()
      .describe(
        `up to ${ENVIRONMENT_MAX} variables with names of letters, digits and \`_\`; ${TOLD_VARIABLES.map((name) => `\`${name}\``).join(', ')} are set by the scheduler`,
      ),
    resources: z
      .strictObject({
        requests: quantities.optional().describe('minimum resources of the container, such as `{"cpu": "500m"}`'),
        limits: quantities.optional().describe('maximum resources of the container, such as `{"memory": "1Gi"}`'),
      })
      .optional()
      .describe(
        '`requests` and `limits` of the container, in the notation of Kubernetes; by default those of the namespace',
      ),
    run_as_user: z
      .int()
      .min(1)
      .max(2_147_483_647)
      .optional()
      .describe('numeric id of the user; needed if the image would run as root or names its user by a text'),
    final_exit_codes: boundedArray(z.int().min(1).max(255), 255)
      .optional()
      .describe('exit codes, 1 to 255, after which the task fails without retries'),
  })
  .meta({
    id: 'KubernetesJobPayload',
    description: 'payload of the action `kubernetes.job`, which runs one container',
  });

export type KubernetesJobPayload = z.output<typeof kubernetesJobPayload>;
