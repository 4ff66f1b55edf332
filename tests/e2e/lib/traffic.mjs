// Messages that keep coming while something breaks, and clients that follow them as real ones do: what they miss while
// they are disconnected they fetch from the change feed.
import assert from 'node:assert/strict';
import { PATIENCE_MS, delay, until } from './wait.mjs';

const PAUSE_MS = 20;

/** A device that reconnects and then catches up through `/v2/changes`. */
export class Follower {
  /** Options as for a device. Its requests go to the replica that it is connected to. */
  static async start(account, session, options = {}) {
    const follower = new Follower();
    Object.assign(follower, { session, account: account.at(options.server ?? account.server), fetched: new Set(), failures: [] });
    follower.cursor = (await account.ask('GET', '/v2/cursor')).cursor;
    follower.device = account.device({ ...options, reconnection: true });
    await follower.device.ready();
    follower.device.socket.on('connect', () => follower.catchUp().catch((error) => follower.failures.push(error)));
    return follower;
  }

  async catchUp() {
    for (;;) {
      const { changes, nextCursor } = await this.account.ask('GET', `/v2/changes?after=${this.cursor}`);
      if (changes.length === 0) return;
      if (changes.some(({ kind, entityId }) => kind === 'session' && entityId === this.session)) {
        for (const { content } of await this.account.messages(this.session)) this.fetched.add(content.c);
      }
      this.cursor = nextCursor;
    }
  }

  get live() {
    return this.device.texts;
  }

  knows(texts) {
    const known = new Set([...this.live, ...this.fetched]);
    return texts.every((text) => known.has(text));
  }

  get wasDisconnected() {
    return this.device.disconnects.length > 0;
  }
}

/** Writes one message after the other through one replica until it is stopped, or its device closed. */
export class Traffic {
  constructor(writer, session) {
    Object.assign(this, { writer, session, stored: [], refused: [], slowestMs: 0, isOver: false });
    this.done = this.run();
  }

  async run() {
    for (let n = 0; !this.isOver && !this.writer.isClosed; n++) {
      const text = `message ${n}`;
      const began = performance.now();
      const ack = await this.send(text);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
      if (ack.ok) this.stored.push(text);
      else this.refused.push({ text, ack });
      await delay(PAUSE_MS);
    }
  }

  /** As clients do: what was not acknowledged when the connection ended is sent again under its local id. */
  async send(text) {
    for (;;) {
      const ends = this.writer.disconnects.length;
      try {
        return await this.writer.send(this.session, text, text, PATIENCE_MS);
      } catch (error) {
        if (this.writer.isClosed || this.writer.disconnects.length === ends) return { ok: false, error: error.message };
      }
    }
  }

  /** Resolves when so many more messages have been stored. */
  more(count, timeoutMs = PATIENCE_MS) {
    const goal = this.stored.length + count;
    return until(() => this.stored.length >= goal, `${count} more messages stored`, timeoutMs);
  }

  async stop() {
    this.isOver = true;
    await this.done;
    assert.deepEqual(this.refused, [], 'every message was stored');
    return this.stored;
  }
}

/**
 * Everybody knows everything in the end. Who was never disconnected has been told of it all, live and in order, and once
 * unless `twice` says that Redis may have taken what it did not confirm: an update may not be missed in silence.
 */
export async function settled(followers, stored, { twice = false, timeoutMs = PATIENCE_MS } = {}) {
  const isComplete = (follower) => (follower.wasDisconnected ? follower.knows(stored) : new Set(follower.live).size >= stored.length);
  await until(() => followers.every(isComplete), 'told of everything', timeoutMs).catch((error) => {
    const state = followers.map(({ live, fetched, device }) => `${live.length} live, ${fetched.size} fetched, ${device.disconnects}`);
    throw new Error(`${error.message}: ${stored.length} stored; ${state.join('; ')}`);
  });
  for (const follower of followers) {
    assert.deepEqual(follower.failures, []);
    if (follower.wasDisconnected) continue;
    assert.deepEqual(twice ? [...new Set(follower.live)] : follower.live, stored);
  }
}
