// A private Postgres server in a temporary directory.
import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './ports.mjs';
import { Child, runToEnd } from './process.mjs';
import { PATIENCE_MS } from './wait.mjs';

// As little to write as possible: a disk that is busy with something else holds up everybody who waits for a commit. Only
// the death of the machine would need more.
const QUIET = ['fsync=off', 'full_page_writes=off', 'wal_init_zero=off', 'checkpoint_timeout=1h'];

export class Postgres {
  /** Makes a new cluster and starts it. It survives the death of its clients, not that of the machine (no fsync). */
  static async create() {
    const postgres = new Postgres();
    postgres.binaries = findBinaries();
    postgres.user = serverUser();
    postgres.dir = mkdtempSync(join(tmpdir(), 'happier-postgres-'));
    if (postgres.user) chownSync(postgres.dir, postgres.user.uid, postgres.user.gid);
    process.on('exit', () => rmSync(postgres.dir, { recursive: true, force: true }));
    const options = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'];
    await runToEnd(postgres.binary('initdb'), ['-D', postgres.data, ...options], postgres.spawnOptions());
    postgres.port = await freePort();
    await postgres.start();
    return postgres;
  }

  /** The one that `share` gave to this process or to the one that started it. */
  static shared() {
    if (!process.env.E2E_POSTGRES) throw new Error('the full flavor needs the Postgres that run.mjs starts');
    return Object.assign(new Postgres(), JSON.parse(process.env.E2E_POSTGRES));
  }

  /** Lets all suites use it. */
  share() {
    const { binaries, user, dir, port } = this;
    process.env.E2E_POSTGRES = JSON.stringify({ binaries, user, dir, port });
  }

  get data() {
    return join(this.dir, 'data');
  }

  binary(name) {
    return join(this.binaries, name);
  }

  spawnOptions() {
    return { cwd: this.dir, env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TZ: 'UTC' }, ...this.user };
  }

  async start() {
    const settings = ['listen_addresses=127.0.0.1', `port=${this.port}`, `unix_socket_directories=${this.dir}`,
      'max_connections=400', ...QUIET];
    const args = ['-D', this.data, ...settings.flatMap((setting) => ['-c', setting])];
    this.child = new Child(this.binary('postgres'), args, this.spawnOptions());
    await this.child.said(/database system is ready to accept connections/, PATIENCE_MS);
  }

  /** `fast` ends orderly, `immediate` as after a crash: without a checkpoint, connections cut. */
  async stop(mode = 'fast') {
    this.child.signal(mode === 'immediate' ? 'SIGQUIT' : 'SIGINT');
    await this.child.finished(PATIENCE_MS);
  }

  /** Creates an empty database and gives its URL. */
  async database(name) {
    const address = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres'];
    await runToEnd(this.binary('createdb'), [...address, name], this.spawnOptions());
    return `postgresql://postgres@127.0.0.1:${this.port}/${name}`;
  }

  /** Runs a statement and gives its rows, as texts. */
  async rows(url, statement) {
    const output = await runToEnd(this.binary('psql'), ['-X', '-q', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-c', statement, url], this.spawnOptions());
    return output.split('\n').filter(Boolean).map((line) => line.split('\t'));
  }

  async remove() {
    await this.stop('immediate');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function findBinaries() {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const candidates = [...versions.map((version) => join(root, version, 'bin')), ...(process.env.PATH ?? '').split(':')];
  const found = candidates.find((dir) => existsSync(join(dir, 'initdb')) && existsSync(join(dir, 'postgres')));
  if (!found) throw new Error('no Postgres server found: install the Debian package postgresql, or put initdb into PATH');
  return found;
}

/** Postgres refuses to run as root; then the account of the Debian package runs it. */
function serverUser() {
  if (process.getuid() !== 0) return null;
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
