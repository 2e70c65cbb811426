import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

/** Records the URL of every module that is loaded after it. */
const NOTE = `
  import { registerHooks } from 'node:module';
  const urls = new Set();
  registerHooks({ load(url, context, next) { urls.add(url); return next(url, context); } });
  process.on('exit', () => console.log(JSON.stringify([...urls])));
`;

/** Returns the URLs of all modules that the import of one of our modules loads. */
async function loadedBy(module: string): Promise<string[]> {
  const url = new URL(module, import.meta.url).href;
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import',
    `data:text/javascript,${encodeURIComponent(NOTE)}`,
    '--input-type=module',
    '--eval',
    `await import(${JSON.stringify(url)}); process.exit();`,
  ]);
  return JSON.parse(stdout) as string[];
}

function packagesOf(urls: readonly string[]): Set<string> {
  return new Set(urls.flatMap((url) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []));
}

/** Packages that cost tens of megabytes and that only some processes need. */
const HEAVY = ['@mikro-orm/core', 'kysely', 'koa', 'zod-openapi', 'swagger-ui-dist', '@kubernetes/client-node'];

describe('what a process loads', () => {
  it.each(['./worker/worker.ts', './reclaimer/stand-in.ts', './reclaimer/reclaimer-process.ts'])(
    '%s: no ORM, no server of the API, no Kubernetes client',
    async (module) => {
      const urls = await loadedBy(module);
      expect(urls.some((url) => url.endsWith('/config/timings.ts'))).toBe(true);
      const packages = packagesOf(urls);
      expect(HEAVY.filter((name) => packages.has(name))).toEqual([]);
    },
  );

  it('the API: only the path of the files of Swagger UI, not its script', async () => {
    const urls = await loadedBy('./api/api-process.ts');
    const packages = packagesOf(urls);
    expect(packages).toContain('koa');
    // Most installations have no provider.
    expect(['openid-client', 'oauth4webapi', 'jose', 'undici'].filter((name) => packages.has(name))).toEqual([]);
    expect(urls.filter((url) => url.includes('/swagger-ui-dist/')).map((url) => url.split('/').at(-1))).toEqual([
      'absolute-path.js',
    ]);
  });
});
