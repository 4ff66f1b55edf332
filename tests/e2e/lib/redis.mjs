// A private Redis server in a temporary directory, and the one client with which the tests look into it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { makeCertificate } from './certificate.mjs';
import { freePort } from './ports.mjs';
import { Child } from './process.mjs';
import { temporaryDirectory } from './server.mjs';
import { PATIENCE_MS } from './wait.mjs';

const { Redis: Client } = createRequire(new URL('../peer/package.json', import.meta.url))('ioredis');

export class Redis {
  /** What is in it survives an orderly stop, as with the settings of the Debian package. `tls`: over TLS alone. */
  static async start({ password = null, tls = false } = {}) {
    const redis = new Redis();
    redis.dir = temporaryDirectory('redis');
    redis.port = await freePort();
    redis.files = tls ? await makeCertificate(redis.dir) : null;
    redis.url = `${tls ? 'rediss' : 'redis'}://${password ? `:${password}@` : ''}127.0.0.1:${redis.port}`;
    const listen = tls
      ? ['--port', '0', '--tls-port', `${redis.port}`, '--tls-auth-clients', 'no', '--tls-ca-cert-file', redis.files.authority,
        '--tls-cert-file', redis.files.certificate, '--tls-key-file', redis.files.key]
      : ['--port', `${redis.port}`];
    const secret = password ? ['--requirepass', password] : [];
    redis.settings = [...listen, '--bind', '127.0.0.1', '--dir', redis.dir, '--appendonly', 'no', '--save', '3600 1', ...secret];
    redis.added = new Set(); // ids of the entries that a test put into the stream
    await redis.resume();
    const trust = tls ? { tls: { ca: readFileSync(redis.files.authority) } } : {};
    redis.client = new Client(redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null, ...trust });
    redis.client.on('error', () => {}); // it is away when a test wants it so
    return redis;
  }

  async resume() {
    this.child = new Child('redis-server', this.settings, { cwd: this.dir, env: { PATH: process.env.PATH } });
    await this.child.said(/Ready to accept connections/, PATIENCE_MS);
  }

  /** SIGTERM saves what is in it, SIGKILL does not. */
  async stop(signal = 'SIGTERM') {
    this.child.signal(signal);
    await this.child.finished(PATIENCE_MS);
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
