import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HEADER_VALUE, type SecretReference } from '../../actions/http-request-payload.ts';
import { isHttpTarget, parseHttpTarget, type HttpTarget } from '../../config/http-targets.ts';
import { FinalError, RetryableError } from '../../core/errors.ts';

/** Reads credentials that payloads name. */
export interface HttpSecrets {
  /**
   * Returns the text of a secret, without the prefix of the reference.
   * @throws FinalError `secret_refused` if the secret must not be sent to this URL, or cannot be part of a header
   * @throws RetryableError `secret_unavailable` if it cannot be read now
   */
  read(reference: SecretReference, url: URL): Promise<string>;
}

/**
 * Reads secrets from `<directory>/<name>/value`. They are read anew for each request, so that they can be rotated.
 * `<directory>/<name>/targets` lists where the secret may be sent, separated by commas or line breaks. Without this
 * file it is sent nowhere: whoever may submit tasks could otherwise send every secret to a server of their own. A
 * target without a scheme means `https` only, and one without a port the standard port.
 * @param directory empty: there are no secrets
 */
export function createHttpSecrets(directory: string): HttpSecrets {
  const readPart = async (name: string, part: 'value' | 'targets'): Promise<string> => {
    try {
      return (await readFile(join(directory, name, part), 'utf8')).trim();
    } catch {
      const message = `the secret ${name} cannot be read: expected the file ${name}/${part} in HTTP_SECRETS_DIR`;
      throw new RetryableError(message, { code: 'secret_unavailable' });
    }
  };

  return {
    async read({ secret: name }, url) {
      if (directory === '') throw refused(name, 'HTTP_SECRETS_DIR is not set, so there are no secrets');
      const targets = targetsIn(name, await readPart(name, 'targets'));
      if (!targets.some((target) => isHttpTarget(url, target))) {
        throw refused(name, `it may not be sent to ${url.origin}: its file \`targets\` does not name this server`);
      }
      const value = await readPart(name, 'value');
      if (value === '' || !HEADER_VALUE.test(value)) {
        throw refused(name, 'its value cannot be sent: expected Latin-1 without line breaks, and not empty');
      }
      return value;
    },
  };
}

const STANDARD_PORTS = { http: 80, https: 443 } as const;

function targetsIn(name: string, text: string): HttpTarget[] {
  const given = text.split(/[\s,]+/).filter((part) => part !== '');
  return given.map((part) => {
    const target = parseHttpTarget(part);
    if (target === null) throw refused(name, 'its file `targets` has a line that is no target');
    const scheme = target.scheme ?? 'https';
    return { ...target, scheme, port: target.port ?? STANDARD_PORTS[scheme] };
  });
}

function refused(name: string, why: string): FinalError {
  return new FinalError(`the secret ${name} was not used: ${why}`, { code: 'secret_refused' });
}
