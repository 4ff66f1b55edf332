// A private Redis server in a temporary directory, and the one client with which the tests look into it.
import { createRequire } from 'node:module';
import { freePort } from './postgres.mjs';
import { Child } from './process.mjs';
import { temporaryDirectory } from './server.mjs';

const READY_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 10_000;
const { Redis: Client } = createRequire(new URL('../peer/package.json', import.meta.url))('ioredis');

export class Redis {
  /** What is in it survives an orderly stop if `persistent`, as with the settings of the Debian package. */
  static async start({ persistent = true, password = null } = {}) {
    const redis = new Redis();
    redis.dir = temporaryDirectory('redis');
    redis.port = await freePort();
    redis.url = `redis://${password ? `:${password}@` : ''}127.0.0.1:${redis.port}`;
    redis.settings = ['--port', `${redis.port}`, '--bind', '127.0.0.1', '--dir', redis.dir, '--appendonly', 'no',
      '--save', persistent ? '3600 1' : '', ...(password ? ['--requirepass', password] : [])];
    redis.added = new Set(); // ids of the entries that a test put into the stream
    await redis.resume();
    redis.client = new Client(redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    redis.client.on('error', () => {}); // it is away when a test wants it so
    return redis;
  }

  async resume() {
    this.child = new Child('redis-server', this.settings, { cwd: this.dir, env: { PATH: process.env.PATH } });
    await this.child.said(/Ready to accept connections/, READY_TIMEOUT_MS);
  }

  /** SIGTERM saves what is in it, SIGKILL does not. */
  async stop(signal = 'SIGTERM') {
    this.child.signal(signal);
    await this.child.finished(STOP_TIMEOUT_MS);
  }

  /** Stands still and keeps its connections, as a machine that is out of breath. */
  freeze() {
    this.child.signal('SIGSTOP');
  }

  thaw() {
    this.child.signal('SIGCONT');
  }

  async remove() {
    this.client.disconnect();
    this.thaw();
    await this.stop('SIGKILL');
  }
}
