// A private S3 server, s3s-fs, which verifies signatures and keeps its buckets as directories; and its public side.
import { createReadStream, existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './ports.mjs';
import { Child } from './process.mjs';
import { temporaryDirectory } from './server.mjs';
import { PATIENCE_MS } from './wait.mjs';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

function binary() {
  const path = join(process.env.CARGO_TARGET_DIR ?? join(repository, 'target'), 'tools/bin/s3s-fs');
  if (!existsSync(path)) throw new Error(`${path} is missing: run scripts/prerequisites`);
  return path;
}

export class ObjectStorage {
  static async start() {
    const storage = new ObjectStorage();
    storage.dir = temporaryDirectory('s3');
    storage.bucket = 'photos';
    storage.accessKey = 'the-access-key';
    storage.secretKey = 'do-not-print-this-secret';
    mkdirSync(join(storage.dir, storage.bucket));
    storage.port = await freePort();
    await storage.resume();
    // A bucket is made public by what stands in front of it; here that is a web server over the same directory.
    storage.public = createServer((request, response) => {
      const path = normalize(join('/', decodeURIComponent(new URL(request.url, 'http://x').pathname)));
      createReadStream(storage.path(path))
        .on('error', () => response.writeHead(404).end())
        .pipe(response);
    }).listen(0, '127.0.0.1');
    await new Promise((listening) => storage.public.once('listening', listening));
    return storage;
  }

  async resume() {
    const keys = ['--access-key', this.accessKey, '--secret-key', this.secretKey];
    const args = ['--host', '127.0.0.1', '--port', String(this.port), ...keys, this.dir];
    this.child = new Child(binary(), args, { cwd: this.dir, env: { RUST_LOG: 's3s_fs=info', NO_COLOR: '1' } });
    await this.child.said(/server is running at/, PATIENCE_MS);
  }

  /** Where an object lies. */
  path(key) {
    return join(this.dir, this.bucket, key);
  }

  /** What a server must be told to use it. */
  get settings() {
    return {
      S3_HOST: '127.0.0.1',
      S3_PORT: String(this.port),
      S3_USE_SSL: 'false',
      S3_BUCKET: this.bucket,
      S3_ACCESS_KEY: this.accessKey,
      S3_SECRET_KEY: this.secretKey,
      S3_PUBLIC_URL: `http://127.0.0.1:${this.public.address().port}`,
    };
  }

  async stop() {
    this.child.signal('SIGKILL');
    await this.child.finished(PATIENCE_MS);
  }

  async remove() {
    this.public.close();
    await this.stop();
  }
}
