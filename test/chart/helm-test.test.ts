import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { only, render } from './render.ts';

describe('helm test', () => {
  const pod = only(render(), 'Pod');

  it('submits a task through the Service', () => {
    expect(pod.metadata.annotations).toMatchObject({
      'helm.sh/hook': 'test',
      'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
    });
    expect(pod.spec.containers[0].args.slice(1)).toEqual(['http://r-scheduler-api:80', '60']);
  });

  /** Runs its program against an API that shows the task in these states, one after the other. */
  const end = async (states: readonly string[], seconds: string, accepts = 200): Promise<[number | null, string]> => {
    const left = [...states];
    const api = createServer((request, response) => {
      response.writeHead(request.method === 'POST' ? accepts : 200);
      const status = left.length > 1 && request.method === 'GET' ? left.shift() : left[0];
      response.end(JSON.stringify({ id: '1', status }));
    }).listen(0, '127.0.0.1');
    await once(api, 'listening');
    const url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
    const { command, args } = pod.spec.containers[0];
    const child = spawn(command[0], [...command.slice(1), args[0], url, seconds], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    const [code] = (await once(child, 'close')) as [number | null];
    api.close();
    return [code, errors];
  };

  it('succeeds when its task is COMPLETED, and only then', async () => {
    expect(await end(['PENDING', 'PROCESSING', 'COMPLETED'], '10')).toEqual([0, '']);
    expect(await end(['FAILED'], '10')).toEqual([1, expect.stringContaining('the task ended FAILED')]);
    expect(await end(['PROCESSING'], '1')).toEqual([1, expect.stringContaining('Timeout')]);
    expect(await end(['PENDING'], '10', 503)).toEqual([1, expect.stringContaining('answered 503')]);
  });
});
