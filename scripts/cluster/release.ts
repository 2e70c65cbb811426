import { CLIENT_SETTINGS } from './clients.ts';
import { helm, kubectl, RELEASE } from './cluster.ts';

/** Small limits, because the cluster has little room and large ones would take too long. */
export const MOST_WORKERS = 4;
export const SLOTS = 10;

/** The image of this version, and the image with one more migration; see `add-migration.ts`. */
export const IMAGE = process.env['E2E_IMAGE'] ?? 'scheduler:dev';
export const NEXT_IMAGE = process.env['E2E_NEXT_IMAGE'] ?? 'scheduler:next';

const VALUES = ['--values', 'k8s/values-kind.yaml', '--values', 'k8s/values-autoscaling.yaml'];
/** A cluster whose images were built on this machine has them under their tags, with digests of their own. */
export const STORES_BY_TAG = ['postgresql.image.digest=', 'redis.image.digest='];
const SETTINGS = [
  ...CLIENT_SETTINGS,
  'api.service.type=ClusterIP',
  'api.service.nodePort=0',
  'api.resources.requests.cpu=50m',
  'workerDefaults.resources.requests.cpu=50m',
  `workers.default.slots=${SLOTS}`,
  `workers.default.autoscaling.maxReplicas=${MOST_WORKERS}`,
  'workers.default.autoscaling.scaleDownStabilizationSeconds=20',
  'workers.default.autoscaling.scaleDownPeriodSeconds=10',
  'config.RATE_LIMIT_PER_MINUTE=0',
  'workers.default.kubernetesJobs.enabled=true',
  ...(process.env['E2E_IMAGES_BY_TAG'] === 'true' ? STORES_BY_TAG : []),
  `workers.default.kubernetesJobs.images[0]=${IMAGE}`,
].flatMap((value) => ['--set', value]);

/** Returns the arguments for helm: values of the test, an image and additional settings. */
export function releaseArguments(image: string, settings: readonly string[] = []): string[] {
  const colon = image.lastIndexOf(':');
  const imageSettings = [
    '--set',
    `image.repository=${image.slice(0, colon)}`,
    '--set-string',
    `image.tag=${image.slice(colon + 1)}`,
  ];
  return [...VALUES, ...SETTINGS, ...imageSettings, ...settings.flatMap((setting) => ['--set', setting])];
}

/** Changes settings of the installed release, and waits until all pods use them. */
export function reconfigure(settings: readonly string[]): void {
  const set = settings.flatMap((setting) => ['--set', setting]);
  // The steps also change objects with kubectl. Without --force-conflicts, Helm would not overwrite these fields.
  const options = ['--reuse-values', '--force-conflicts', '--wait', '--timeout', '5m'];
  helm('upgrade', RELEASE, 'charts/scheduler', ...set, ...options);
}

/** Keeps at least this many workers, independent of the demand. */
export function keepWorkers(count: number): void {
  const patch = JSON.stringify({ spec: { minReplicas: count } });
  kubectl('patch', 'horizontalpodautoscaler', `${RELEASE}-worker-default`, '--patch', patch);
}
