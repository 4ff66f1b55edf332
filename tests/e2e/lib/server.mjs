// The server under test: the built binary, started on a free port with nothing of our own environment.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './ports.mjs';
import { Postgres } from './postgres.mjs';
import { Child } from './process.mjs';
import { PATIENCE_MS } from './wait.mjs';

/** Far above what an orderly end takes, and below everything that could hold one up, such as a peer that never closes. */
export const SHUTDOWN_LIMIT_MS = 25_000;

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

/** `light` or `full`: which flavor this run of the suites is about. */
export const flavor = process.env.E2E_FLAVOR ?? 'light';
/** Settings that the person who runs the suites adds to every server, as `--setting NAME=VALUE`. */
const extraSettings = JSON.parse(process.env.E2E_SETTINGS ?? '{}');

export function serverBinary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(repository, 'target');
  const binary = resolve(process.env.HAPPIER_SERVER_BIN ?? join(target, 'release/happier-server'));
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run \`cargo build --release\`, or set HAPPIER_SERVER_BIN`);
  return binary;
}

const directories = [];
process.on('exit', () => {
  for (const dir of directories) rmSync(dir, { recursive: true, force: true });
});

/** A directory of our own that is gone when the program ends. */
export function temporaryDirectory(name) {
  const dir = mkdtempSync(join(tmpdir(), `happier-${name}-`));
  directories.push(dir);
  return dir;
}

/** Starts the binary with exactly these settings and does not wait for anything. */
export function launch(args, settings, cwd = temporaryDirectory('cwd')) {
  const env = { PATH: process.env.PATH, HOME: cwd, TZ: 'UTC', METRICS_ENABLED: 'false', ...settings };
  return new Child(serverBinary(), args, { cwd, env });
}

export class Server {
  /**
   * Options: `settings` (more environment), `postgres` (a private server for it alone instead of the shared one),
   * `storage` (settings that name the storage of another server, for both), `metrics` (serve them, at `metricsUrl`).
   */
  static async start(options = {}) {
    const server = new Server();
    server.options = options;
    server.port = await freePort();
    server.dir = temporaryDirectory(flavor);
    server.metricsPort = options.metrics ? await freePort() : null;
    server.metricsUrl = `http://127.0.0.1:${server.metricsPort}`;
    server.storage = options.storage ?? (flavor === 'light' ? { HAPPY_SERVER_LIGHT_DATA_DIR: join(server.dir, 'data') } : await database(options.postgres));
    await server.resume();
    return server;
  }

  /** Starts again on the same data and the same port. */
  async resume() {
    const metrics = this.metricsPort ? { METRICS_ENABLED: 'true', METRICS_PORT: String(this.metricsPort) } : {};
    const defaults = { PORT: String(this.port), HAPPIER_RATE_LIMITS: 'off', HAPPIER_SHUTDOWN_TIMEOUT_MS: String(2 * SHUTDOWN_LIMIT_MS) };
    const settings = { ...defaults, ...metrics, ...this.storage, ...extraSettings, ...this.options.settings };
    this.child = launch([flavor], settings, this.dir);
    await this.child.said(/ready after/, PATIENCE_MS);
    // A worker listens to nobody.
    const [, host, port] = /listening on http:\/\/([^\s:]+|\[[^\]]+\]):(\d+)/.exec(this.child.output) ?? [];
    if (host === undefined) return;
    this.port = Number(port);
    this.url = `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`;
  }

  /** Asks for an orderly end; gives exit code, signal and how long it took. */
  async terminate(signal = 'SIGTERM') {
    const asked = performance.now();
    this.child.signal(signal);
    const ended = await this.child.finished(PATIENCE_MS);
    this.assertNoPanic();
    return { ...ended, ms: Math.round(performance.now() - asked) };
  }

  async kill() {
    this.child.signal('SIGKILL');
    await this.child.exit;
    this.assertNoPanic();
  }

  assertNoPanic() {
    if (this.child.output.includes('panicked at')) throw new Error(`a panic is a bug; the server said:\n${this.child.output}`);
  }

  get alive() {
    return this.child.ended === null;
  }
}

let databases = 0;

/** The settings that name an empty database of its own. */
export async function database(postgres) {
  const name = `e2e_${process.pid}_${databases++}`;
  const url = await (postgres ?? Postgres.shared()).database(name);
  return { DATABASE_URL: url, HANDY_MASTER_SECRET: 'the master secret of the end-to-end tests' };
}
