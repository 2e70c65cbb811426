import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../scripts/stores/private-server.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { createTestStores } from '../harness/stores.ts';
import { startApi, type RunningApi } from '../running-api.ts';
import { GRANTS, makeIdentityProvider, type IdentityProvider, type ProviderOptions } from './identity-provider.ts';
import { createWalker, logInAtProvider, type Walker } from './walker.ts';

/** An API that people log in to by a real provider. */
export interface LoginBed {
  readonly api: RunningApi;
  readonly publicUrl: string;
  readonly provider: IdentityProvider;
  /** The environment of the API, for another replica. */
  readonly env: Record<string, string>;
  /** Begins a login. Returns the address at the provider to which the browser is sent. */
  begin(walker: Walker, returnTo?: string): Promise<URL>;
  /** Logs in up to the address with which the provider sends the browser back, which is not visited. */
  comeBack(walker: Walker, person: string | null, returnTo?: string): Promise<URL>;
  /** Logs in, and returns the answer to the callback. */
  logIn(person: string | null, returnTo?: string): Promise<{ readonly walker: Walker; readonly answer: Response }>;
}

export interface LoginBedOptions {
  readonly provider?: Partial<ProviderOptions>;
  /** False: the provider is started by the test. */
  readonly startProvider?: boolean;
  readonly env?: Record<string, string>;
  /** The name under which browsers reach the API. By default its address, which is also that of the provider. */
  readonly host?: string;
}

/** Writes a file that is deleted at the end of the test file. */
export function temporaryFile(name: string, content: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'oidc-'));
  atEndOfFile(async () => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

export async function startLoginBed(options: LoginBedOptions = {}): Promise<LoginBed> {
  const { startProvider = true, env: given = {}, host = '127.0.0.1' } = options;
  const port = await freePort();
  const publicUrl = `http://${host}:${port}`;
  const provider = await makeIdentityProvider({ callbacks: [`${publicUrl}/login/callback`], ...options.provider });
  if (startProvider) await provider.start();
  const env = {
    ...(await createTestStores()).env,
    ...provider.env,
    HOST: '127.0.0.1',
    PORT: String(port),
    PUBLIC_URL: publicUrl,
    OIDC_GRANTS_FILE: temporaryFile('grants.json', GRANTS),
    ...given,
  };
  const api = await startApi(env);

  const begin: LoginBed['begin'] = async (walker, returnTo) => {
    const query = returnTo === undefined ? '' : `?${new URLSearchParams({ return_to: returnTo }).toString()}`;
    const answer = await walker.visit(`${api.url}/login${query}`);
    if (answer.status !== 302) throw new Error(`/login answers ${answer.status}: ${await answer.text()}`);
    return new URL(answer.headers.get('location') ?? '');
  };
  const comeBack: LoginBed['comeBack'] = async (walker, person, returnTo) =>
    logInAtProvider(walker, await begin(walker, returnTo), person);
  return {
    api,
    publicUrl,
    provider,
    env,
    begin,
    comeBack,
    async logIn(person, returnTo) {
      const walker = createWalker();
      return { walker, answer: await walker.visit((await comeBack(walker, person, returnTo)).href) };
    },
  };
}
