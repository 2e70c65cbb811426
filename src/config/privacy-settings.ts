import { z } from 'zod';
import type { PrivateMetadata } from '../core/access/projection.ts';
import { parseRedactedFields, type FieldsProblem } from './redacted-fields.ts';

const METADATA_NAME_LENGTH_MAX = 128;

const redactedFields = () =>
  z
    .string()
    .default('{}')
    .transform((text, context) => {
      const problems: FieldsProblem[] = [];
      const rules = parseRedactedFields(text, problems);
      for (const { message, given } of problems) context.addIssue({ code: 'custom', message, params: { given } });
      return problems.length === 0 ? rules : z.NEVER;
    });

const privateMetadata = () =>
  z
    .string()
    .default('')
    .transform((text, context): PrivateMetadata => {
      const names = text
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '');
      for (const given of names.filter((name) => name.length > METADATA_NAME_LENGTH_MAX)) {
        const message = `expected names of metadata of at most ${METADATA_NAME_LENGTH_MAX} characters, comma-separated, or \`*\``;
        context.addIssue({ code: 'custom', message, params: { given } });
      }
      return { all: names.includes('*'), names: names.filter((name) => name !== '*') };
    });

/** The settings that say what of tasks is hidden from whom. */
export const privacySettings = {
  REDACTED_FIELDS: redactedFields().describe(
    'what is hidden in payloads, results and progress, by action: a JSON object from names or patterns of actions to lists of paths, such as `{"payment.charge": ["$.card.number"], "*": ["$.password"]}` ([access.md](access.md#redacted-fields))',
  ),
  REDACTED_FIELDS_FILE: z
    .string()
    .default('')
    .describe('file that holds REDACTED_FIELDS; read when the process starts'),
  PRIVATE_METADATA: privateMetadata().describe(
    'members of metadata whose values only clients with the scope `payload` see and filter by, comma-separated; `*`: all ([access.md](access.md#private-metadata))',
  ),
};
