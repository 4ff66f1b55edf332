// Several processes of ours on one database and one Redis, and the reference replicas beside them.
import { NodeReplica } from './peer.mjs';
import { Postgres } from './postgres.mjs';
import { Redis } from './redis.mjs';
import { Server, database } from './server.mjs';
import { audit, entries } from './stream.mjs';

// Many processes share two cores and one Postgres here.
const LEAN = { HAPPIER_CORES: '2', HAPPIER_DB_CONNECTIONS_PER_CORE: '2' };

export class Cluster {
  /**
   * Starts one process for each of `roles`, all at once on an empty database. Options: `settings` for all of them, `redis`
   * (its options), `node` (how many reference replicas, started first).
   */
  static async start(roles = ['worker', 'api', 'api', 'api'], { settings = {}, redis = {}, node = 0 } = {}) {
    const cluster = new Cluster();
    cluster.redis = await Redis.start(redis);
    cluster.storage = await database();
    cluster.settings = { ...LEAN, HAPPY_SOCKET_REDIS_ADAPTER: '1', REDIS_URL: cluster.redis.url, ...settings };
    cluster.nodes = [];
    for (let n = 0; n < node; n++) cluster.nodes.push(await NodeReplica.start(cluster.redis));
    cluster.servers = await Promise.all(roles.map((role) => cluster.launch(role)));
    return cluster;
  }

  /** One more process. */
  async add(role, settings = {}) {
    const server = await this.launch(role, settings);
    this.servers.push(server);
    return server;
  }

  async launch(role, settings) {
    const server = await Server.start({ storage: this.storage, metrics: true, settings: { ...this.settings, SERVER_ROLE: role, ...settings } });
    server.role = role;
    return server;
  }

  /** Those who answer clients. */
  get replicas() {
    return this.servers.filter(({ role }) => role !== 'worker');
  }

  get worker() {
    return this.servers.find(({ role }) => role === 'worker');
  }

  /** Runs a statement in the database and gives its rows, as texts. */
  rows(statement) {
    return Postgres.shared().rows(this.storage.DATABASE_URL, statement);
  }

  /** What is wrong with what our processes have said to others until now. */
  async faults() {
    const others = ['emitter', ...this.nodes.map(({ uid }) => uid)];
    return audit((await entries(this.redis)).filter(({ id, uid }) => !this.redis.added.has(id) && !others.includes(uid)));
  }

  async remove() {
    for (const server of this.servers) if (server.alive) await server.kill();
    for (const node of this.nodes) if (node.alive) await node.kill();
    await this.redis.remove();
  }
}
