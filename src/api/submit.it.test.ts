import { beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../test/running-api.ts';

let api: RunningApi;
beforeAll(async () => {
  api = await startApi((await createTestStores()).env);
});

describe('POST /tasks', () => {
  it('answers with the committed task and all defaults', async () => {
    const { status, body, headers } = await api.post('/tasks', { payload: { a: 1 } });
    expect(body).toEqual({
      id: expect.any(String),
      queue: 'default',
      action: null,
      payload: { a: 1 },
      priority: 'Medium',
      status: 'PENDING',
      created_at: expect.any(String),
      run_at: body.created_at,
      execution_time: null,
      attempt: 0,
      max_retries: 3,
      backoff: null,
      timeout: 1_800,
      metadata: null,
      trace_id: headers.get('x-trace-id'),
    });
    expect(status).toBe(200);
  });
});
