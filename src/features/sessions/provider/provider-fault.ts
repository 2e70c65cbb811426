import { messageOf, SchedulerError } from '../../../core/errors.ts';

/**
 * The provider did not answer, not in time, or with something that no provider answers. Nothing is known about the
 * person, so nobody is refused because of it: the same request may succeed later.
 */
export class ProviderFault extends SchedulerError {
  constructor(message: string, cause?: unknown) {
    super('provider_unavailable', message, { retryable: true, cause });
  }
}

/** Codes with which the library reports that an answer has not the form of one. */
const NO_ANSWER = new Set([
  'OAUTH_PARSE_ERROR',
  'OAUTH_RESPONSE_IS_NOT_JSON',
  'OAUTH_RESPONSE_IS_NOT_CONFORM',
  'OAUTH_TIMEOUT',
  'OAUTH_ABORT',
]);

/** Returns the fault of the provider that caused an error; null if the provider has answered properly. */
export function faultIn(error: unknown): ProviderFault | null {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof ProviderFault) return each;
    if (NO_ANSWER.has((each as { code?: unknown }).code as string)) {
      return new ProviderFault(reasonOf(error), error);
    }
  }
  return null;
}

/** Longest reason in characters: a provider can put anything into an error. */
const REASON_LENGTH_MAX = 500;

/**
 * Returns the messages of an error and of its causes, and what the provider itself says: the library's own message
 * rarely says what happened.
 */
export function reasonOf(error: unknown): string {
  const parts = new Set<string>();
  for (let each = error; each instanceof Error && parts.size < 8; each = each.cause) {
    parts.add(messageOf(each));
    for (const text of saidIn(each)) parts.add(text);
  }
  return ([...parts].join(': ') || messageOf(error)).slice(0, REASON_LENGTH_MAX);
}

/** Returns the code of an error that the provider has answered (RFC 6749); null if it has none of this form. */
export function codeSaid(error: unknown): string | null {
  const [code = ''] = error instanceof Error ? saidIn(error) : [];
  return /^[a-z_]{1,40}$/.test(code) ? code : null;
}

/** Returns the code and the description of an error as the provider says it: in the answer, or in a challenge. */
function saidIn(error: Error): string[] {
  const challenges = Array.isArray(error.cause) ? (error.cause as { readonly parameters?: object }[]) : [];
  return [error, ...challenges.map(({ parameters = {} }) => parameters)].flatMap((each) => {
    const { error: code, error_description: description } = each as Readonly<Record<string, unknown>>;
    return [code, description].filter((text) => typeof text === 'string');
  });
}
