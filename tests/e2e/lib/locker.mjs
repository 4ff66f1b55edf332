// Somebody who holds rows or whole tables in Postgres, so that statements of the server wait for as long as a test wants.
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { until } from './wait.mjs';

export class Locker {
  constructor(url) {
    const { binaries } = JSON.parse(process.env.E2E_POSTGRES);
    this.child = spawn(`${binaries}/psql`, ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', url], { stdio: ['pipe', 'pipe', 'inherit'] });
    process.on('exit', () => this.child.kill('SIGKILL'));
    this.said = '';
    this.asked = 0;
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.said += text));
  }

  /** Resolves when the statements are done. */
  async run(statements) {
    const mark = `done ${this.asked++}.`;
    this.child.stdin.write(`${statements}; SELECT '${mark}';\n`);
    await until(() => this.said.includes(mark) || this.child.exitCode !== null, 'done');
    if (!this.said.includes(mark)) throw new Error(`psql ended with ${this.child.exitCode}`);
  }

  lockRow(table, id) {
    return this.run(`BEGIN; SELECT FROM "${table}" WHERE "id" = '${id}' FOR UPDATE`);
  }

  /** They can be read and not written. */
  lockTables(...tables) {
    return this.run(`BEGIN; LOCK TABLE ${tables.map((table) => `"${table}"`).join(', ')} IN SHARE ROW EXCLUSIVE MODE`);
  }

  /** Resolves once some statement waits for what is held. */
  async untilWaitedFor() {
    // Within a transaction what others do is looked at once, unless it is asked for anew.
    const mark = `waiting ${this.asked++}.`;
    const look = `SELECT pg_stat_clear_snapshot(); SELECT '${mark}' FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1`;
    await until(async () => (await this.run(look), this.said.includes(mark)), 'waited for');
  }

  /** Statements that wait for the lock fail; Postgres would run those of a client that is dead. */
  cancelWaiting() {
    return this.run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`);
  }

  async unlock() {
    this.child.stdin.end('COMMIT;\n');
    await once(this.child, 'exit');
  }
}
