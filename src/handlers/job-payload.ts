import { kubernetesJobPayload, type KubernetesJobPayload } from '../actions/kubernetes-job-payload.ts';
import { FinalError } from '../core/errors.ts';
import { parsePayload } from './payload.ts';

/**
 * Reads the payload of `kubernetes.job`.
 * @param allowed images, or patterns that end in `*` and match by the part before it
 * @throws FinalError `invalid_payload`, `image_refused`
 */
export function readJobPayload(payload: unknown, allowed: readonly string[]): KubernetesJobPayload {
  const given = parsePayload(kubernetesJobPayload, payload);
  const isAllowed = allowed.some((entry) =>
    entry.endsWith('*') ? given.image.startsWith(entry.slice(0, -1)) : given.image === entry,
  );
  if (!isAllowed) {
    // Without the image itself: who may read errors need not be allowed to read the payload.
    throw new FinalError('payload.image: expected an image that KUBERNETES_JOBS_IMAGES allows', {
      code: 'image_refused',
    });
  }
  return given;
}
