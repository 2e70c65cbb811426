import type { RedisConnection } from './redis.ts';

/** Milliseconds since 1970 by Redis' clock, which beats are stamped with. Throws `StoreUnavailableError` when Redis is away. */
export async function redisNowMs(redis: RedisConnection): Promise<number> {
  const [seconds, microseconds] = await redis.call((client) => client.time());
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}
