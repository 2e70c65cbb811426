import { connect } from 'node:net';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { as, clientsInFiles, type TestClient } from '../harness/clients.ts';
import { startProcess, untilTrue, type TestProcess } from '../harness/processes.ts';
import type { TestStores } from '../harness/stores.ts';

/** What an attacker gets to see. */
export interface Loot {
  readonly status: number;
  readonly body: any;
  /** Everything, as text: the status, all headers and the body. */
  readonly text: string;
}

export type Attack = readonly [method: string, path: string, body?: unknown];

/** A real API process that asks for keys. */
export interface BesiegedApi {
  readonly url: string;
  readonly port: number;
  readonly process: TestProcess;
  /**
   * Sends a request.
   * @param sender name of a client of `clientsInFiles`, headers, or null for somebody without a key
   */
  send(sender: string | Readonly<Record<string, string>> | null, ...attack: Attack): Promise<Loot>;
  /** Sends bytes as they are, and returns everything that comes back until the API closes the connection. */
  sendRaw(lines: readonly string[], options?: { readonly from?: string; readonly body?: string }): Promise<Loot>;
  /** Queries the database directly. */
  rows<Row>(text: string, values?: unknown[]): Promise<Row[]>;
  /** All rows of all tables that requests change. */
  tables(): Promise<Record<string, unknown>>;
}

/** Starts the API with these clients in files. */
export async function besiege(
  stores: TestStores,
  clients: Readonly<Record<string, TestClient>>,
  env: Record<string, string> = {},
): Promise<BesiegedApi> {
  const settings = { ...stores.env, RATE_LIMIT_PER_MINUTE: '0', ...clientsInFiles(clients), ...env };
  const api = startProcess(['node', 'src/main.ts', 'api'], settings);
  const port = Number((await api.waitForLine(({ msg }) => msg === 'api listening')).port);
  const url = `http://127.0.0.1:${port}`;
  await untilTrue(async () => (await fetch(`${url}/readyz`)).ok);
  const rows: BesiegedApi['rows'] = (text, values = []) =>
    withConnection(stores.databaseUrl, async (client) => (await client.query(text, values)).rows as never);

  return {
    url,
    port,
    process: api,
    rows,
    async send(sender, method, path, body) {
      const key = typeof sender === 'string' ? as(sender) : (sender ?? {});
      const content = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
      const type = body === undefined ? {} : { 'content-type': 'application/json' };
      const response = await fetch(url + path, {
        method,
        headers: { ...type, ...key },
        ...content,
        signal: AbortSignal.timeout(30_000),
      });
      const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
      return lootOf(response.status, headers, await response.text());
    },
    async sendRaw(lines, { from, body = '' } = {}) {
      const socket = connect({ port, host: '127.0.0.1', ...(from === undefined ? {} : { localAddress: from }) });
      // The API may refuse a request unread and close the connection while we are still sending. The socket then has an
      // error, which `events.once` would throw, although the answer has arrived.
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.on('error', () => {});
      let text = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => void (text += chunk));
      socket.setTimeout(30_000, () => socket.destroy());
      socket.write(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n${body}`, 'latin1');
      await closed;
      const [head = '', ...rest] = text.split('\r\n\r\n');
      return lootOf(Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0), head, rest.join('\r\n\r\n'));
    },
    async tables() {
      const found = await rows<{ name: string }>(
        `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         AND NOT relispartition AND relname <> ALL ($1) ORDER BY relname`,
        [CHANGING_BY_THEMSELVES],
      );
      const texts = found.map(async ({ name }) => [
        name,
        await rows(`SELECT row_to_json(t)::text AS row FROM "${name}" t ORDER BY 1`),
      ]);
      return Object.fromEntries(await Promise.all(texts)) as Record<string, unknown>;
    },
  };
}

/** The lease of the reclaimer and its stand-ins, and the log of what was refused. */
const CHANGING_BY_THEMSELVES = ['sweeper', 'audit'];

function lootOf(status: number, headers: string, content: string): Loot {
  let body: unknown;
  try {
    body = JSON.parse(content);
  } catch {
    body = content;
  }
  return { status, body, text: `${status}\n${headers}\n\n${content}` };
}

/** Returns the line of a header with a secret. */
export const bearerLine = (secret: string): string => `Authorization: Bearer ${secret}`;

/** Returns the secret of a client of `clientsInFiles`. */
export const secretOfClient = (name: string): string => (as(name)['authorization'] ?? '').slice('Bearer '.length);

/** Returns what an answer says apart from its time and its trace. */
export function sense({ status, body }: Loot): unknown {
  if (typeof body !== 'object' || body === null) return [status, body];
  return [status, { ...body, trace_id: null }];
}
