// The replica made of the reference stack (`peer/peer.mjs`), seen from a test.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Child } from './process.mjs';
import { PATIENCE_MS } from './wait.mjs';

const PROGRAM = fileURLToPath(new URL('../peer/peer.mjs', import.meta.url));

export class NodeReplica {
  static async start(redis, settings = {}) {
    const replica = new NodeReplica();
    const env = { PATH: process.env.PATH, REDIS_URL: redis.url, ...settings };
    replica.child = new Child(process.execPath, [PROGRAM], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], serialization: 'advanced' });
    replica.waiting = new Map();
    replica.asked = 0;
    const started = await Promise.race([once(replica.child.process, 'message'), replica.child.exit]);
    if (!Array.isArray(started)) throw new Error(`the Node replica did not start:\n${replica.child.output}`);
    const [{ port, uid }] = started;
    replica.uid = uid;
    replica.url = `http://127.0.0.1:${port}`;
    replica.child.process.on('message', ({ id, result, error }) => {
      const { resolve, reject } = replica.waiting.get(id);
      replica.waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    });
    return replica;
  }

  /** One of the `commands` of the program. */
  async ask(command, options) {
    const id = this.asked++;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.child.process.send({ id, command, options });
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const late = once(signal, 'abort').then(() => {
      throw new Error(`the Node replica did not answer ${command}; its output:\n${this.child.output}`);
    });
    return Promise.race([answer, late]);
  }

  emit(options) {
    return this.ask('emit', options);
  }

  get alive() {
    return this.child.ended === null;
  }

  async terminate() {
    this.child.signal('SIGTERM');
    const ended = await this.child.finished(PATIENCE_MS);
    if (ended.code !== 0) throw new Error(`the Node replica ended with ${JSON.stringify(ended)}:\n${this.child.output}`);
  }

  async kill() {
    this.child.signal('SIGKILL');
    await this.child.exit;
  }
}
