import { findOnPath, findPostgres, findRedis } from './binaries.ts';

/** Prints the Debian packages of the servers that this machine lacks, one per line. */
if (findPostgres(process.env['TEST_POSTGRES_BIN']) === null) console.log('postgresql');
if (findRedis() === null) console.log('redis-server');
if (findOnPath('pgbouncer') === null) console.log('pgbouncer');
