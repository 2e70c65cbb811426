import type { RedisConnection } from './redis.ts';

/**
 * Returns the time of Redis' clock, which also stamps the beats, in milliseconds since 1970.
 * @throws StoreUnavailableError
 */
export async function redisNowMs(redis: RedisConnection): Promise<number> {
  const [seconds, microseconds] = await redis.call((client) => client.time());
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}
